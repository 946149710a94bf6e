"""What a detector saw before and after, drawn side by side."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from torch import Tensor

    from robustkit.detector import Boxes

SIDE, LARGEST = 320, 640
"""Smaller pictures are enlarged by a whole factor to this height, larger ones made smaller."""
GAP, HEAD = 16, 26
INK, PAPER = (20, 20, 20), (255, 255, 255)
COLOURS = ("#e6194b", "#0072b2", "#f58231", "#008b6b", "#911eb4", "#b8860b", "#00a6d6", "#d6408f")


class Panel(NamedTuple):
    """A title, a picture `[3,H,W]` in [0, 1], and what is seen on it."""

    title: str
    x: "Tensor"
    boxes: "Boxes"


def draw_boxes(panel: Panel, names: Mapping[int, str]) -> Image.Image:
    """The picture with a box, name and score around everything that is seen; title on top.

    Colours and line widths are those of the drawing, whatever size the picture has.
    """
    array = panel.x.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).contiguous().numpy()
    picture = Image.fromarray(np.ascontiguousarray(array))
    factor = float(max(1, SIDE // picture.height))
    factor = min(factor, LARGEST / max(picture.size))
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    sheet = Image.new("RGB", (size[0], size[1] + HEAD), PAPER)
    sheet.paste(picture.resize(size, Image.Resampling.NEAREST), (0, HEAD))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    draw.text((2, 4), panel.title, INK, ImageFont.load_default(15))
    boxes, labels, scores = panel.boxes
    # The least sure first, so that the surest is on top.
    for row in scores.argsort().tolist():
        colour = COLOURS[int(labels[row]) % len(COLOURS)]
        left, top, right, bottom = (factor * float(value) for value in boxes[row])
        edges = (left, top + HEAD, max(left, right), HEAD + max(top, bottom))
        draw.rectangle(edges, outline=colour, width=2)
        label = int(labels[row])
        words = f" {names.get(label, str(label))} {float(scores[row]):.0%} "
        place = (left, max(float(HEAD), edges[1] - 15))
        draw.rectangle(draw.textbbox(place, words, font), fill=colour)
        draw.text(place, words, PAPER, font)
    return sheet


def beside(panels: list[Image.Image]) -> Image.Image:
    """Drawings next to one another."""
    width = sum(panel.width for panel in panels) + GAP * (len(panels) - 1)
    sheet = Image.new("RGB", (width, max(panel.height for panel in panels)), PAPER)
    left = 0
    for panel in panels:
        sheet.paste(panel, (left, 0))
        left += panel.width + GAP
    return sheet
