"""The famous picture: what the model saw, the noise that was added, and what it saw then."""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

SIDE = 224
"""Smaller pictures are enlarged by a whole factor to about this height."""
LARGEST = 640
"""Larger pictures are thinned out to this width or height, noise and picture alike."""
GAP = 56
MARGIN = 20
INK, PAPER, FAINT = (20, 20, 20), (255, 255, 255), (110, 110, 110)


class Caption(NamedTuple):
    """Two lines under a panel: what it is, and how sure the model is of it."""

    title: str
    detail: str


def triptych(x: Pixels, x_adv: Pixels, captions: tuple[Caption, Caption, Caption]) -> Image.Image:
    """Draw picture + magnified noise = picture; `x`, `x_adv` are `[C,H,W]` in [0, 1].

    The noise is magnified by `magnification`, around grey.
    """
    noise = 0.5 + magnification(x, x_adv) * (x_adv - x)
    panels = [_panel(one) for one in (x, noise, x_adv)]
    width, height = panels[0].size
    title, detail = ImageFont.load_default(20), ImageFont.load_default(16)
    column = max(width, SIDE)
    below = 24 * max(len(_wrapped(one.title, title, column)) for one in captions) + 44
    size = (3 * column + 2 * GAP + 2 * MARGIN, height + below + 2 * MARGIN)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, (panel, caption) in enumerate(zip(panels, captions, strict=True)):
        left = MARGIN + place * (column + GAP)
        corner = (left + (column - width) // 2, MARGIN)
        sheet.paste(panel, corner)
        edges = (corner[0] - 1, MARGIN - 1, corner[0] + width, MARGIN + height)
        draw.rectangle(edges, outline=FAINT)
        middle, top = left + column // 2, MARGIN + height + 14
        for line in _wrapped(caption.title, title, column):
            draw.text((middle, top), line, INK, title, anchor="ma")
            top += 24
        draw.text((middle, top + 4), caption.detail, FAINT, detail, anchor="ma")
        if place:
            sign = (left - GAP // 2, MARGIN + height // 2)
            draw.text(sign, " +="[place], INK, ImageFont.load_default(36), anchor="mm")
    return sheet


def magnification(x: Pixels, x_adv: Pixels) -> float:
    """The factor that makes the largest change of a pixel black or white."""
    largest = float(np.abs(x_adv - x).max())
    return 0.5 / largest if largest else 1.0


def _panel(x: Pixels) -> Image.Image:
    """Pixels `[C,H,W]` as a picture in colours, enlarged if it is small."""
    colours = x[:3] if len(x) >= 3 else x[:1].repeat(3, axis=0)
    array = (colours.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)
    picture = Image.fromarray(np.ascontiguousarray(array))
    factor = float(max(1, min(SIDE // picture.height, LARGEST // picture.width)))
    factor = min(factor, LARGEST / max(picture.size))
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture.resize(size, Image.Resampling.NEAREST)


def _wrapped(
    text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> list[str]:
    """The text in lines of at most `width`, words kept whole."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines[:4] or [""]
