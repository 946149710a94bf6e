"""Patches as files: a PNG whose alpha says where it is opaque, with what is known of it inside."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from robustkit.attacks.patch import Patch, Views, place, upright
from robustkit.draws import Draws
from robustkit.errors import RefusedError, ToolError, UserError
from robustkit.loading.folder import SUFFIXES, read_picture

KEY = "robustkit-patch"
"""Where a PNG keeps what is known of its patch, as JSON."""
PAPER = {"a4": (21.0, 29.7), "a3": (29.7, 42.0), "letter": (21.59, 27.94)}
"""Width and height of a sheet in centimetres."""
MARGIN, GAP = 1.0, 0.5
INCH = 2.54


def rounded(patch: Patch) -> Patch:
    """The patch as a file holds it, in whole steps of 1/255."""
    return patch._replace(pixels=patch.pixels.clamp(0, 1).mul(255).round().div(255))


def write_patch(path: Path, patch: Patch, facts: dict[str, Any]) -> None:
    """Write a patch with pixels in [0, 1]; raises ToolError where that cannot be done."""
    info = PngInfo()
    info.add_text(KEY, json.dumps(facts))
    levels = patch.pixels.clamp(0, 1).mul(255).round()
    opaque = patch.mask[None].float() * 255
    array = torch.cat((levels, opaque)).byte().permute(1, 2, 0).numpy()
    save(Image.fromarray(array, "LA" if array.shape[2] == 2 else "RGBA"), path, pnginfo=info)


def read_patch(path: Path) -> tuple[Patch, dict[str, Any]]:
    """A patch `[C,h,w]` in [0, 1], and what its file says of it; any PNG will do.

    Raises UserError where there is no file, RefusedError for one that is no picture.
    """
    if not path.is_file():
        raise UserError("PATCH, a PNG file", f"{str(path)!r}, where there is none", "check it")
    try:
        with Image.open(path) as picture:
            picture.load()
            grey = picture.mode in ("1", "L", "LA")
            array = np.array(picture.convert("LA" if grey else "RGBA"))
            facts = json.loads(str(picture.info.get(KEY, "{}")))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RefusedError(
            "a PNG that can be read", f"{path.name} ({error})",
            "make one with patch train, or save the patch as a PNG that is opaque where it is",
        ) from None  # fmt: skip
    values = torch.from_numpy(array).permute(2, 0, 1).contiguous()
    known = facts if isinstance(facts, dict) else {}
    return Patch(values[:-1].float() / 255, values[-1] > 127), known


def read_outline(path: Path, size: tuple[int, int]) -> torch.Tensor:
    """Where the PNG at `path` is opaque, drawn at `size` (height, width): `[h,w]` bool.

    Raises UserError where there is no file or it is opaque nowhere, RefusedError for no picture.
    """
    mask = read_patch(path)[0].mask
    rows, columns = (
        ((torch.arange(want) + 0.5) * have / want).long()
        for want, have in zip(size, mask.shape, strict=True)
    )
    outline = mask[rows][:, columns]
    if not bool(outline.any()):
        raise UserError("a PNG that is opaque somewhere", str(path), "draw the outline in it")
    return outline


def save(picture: Image.Image, path: Path, **settings: Any) -> None:
    """Write a PNG, making its folder; raises ToolError where that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, "PNG", **settings)
    except OSError as error:
        raise ToolError(
            "a file that can be written", f"{path}: {error.strerror}", "choose another --out"
        ) from None


def apply_patch(
    patch: Patch, folder: Path, out: Path, *, corner: tuple[int, int] | None = None, seed: int = 0
) -> int:
    """Write every picture of `folder` with the patch on it to the same place below `out`, as PNG.

    Pictures that differ in their suffix alone keep it: `a.jpg` becomes `a.jpg.png` beside `a.png`.
    `corner` pastes it upright there, (top, left) in pixels; else angle, size and place are drawn.
    Returns how many were written. Raises UserError for a folder without pictures, an `out` that is
    the folder or inside it, and for a patch that is larger than a picture or sticks out of it.
    """
    if not folder.is_dir():
        raise UserError("FOLDER, a folder of pictures", repr(str(folder)), "check the path")
    if out.resolve().is_relative_to(folder.resolve()):
        raise UserError("--out outside of FOLDER", str(out), "choose another folder")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise UserError(f"pictures ({', '.join(SUFFIXES)})", f"none in {folder}", "check the path")
    alike = Counter(path.with_suffix("") for path in files)
    for index, path in enumerate(files):
        x = read_picture(path)[None].float() / 255
        x = x.expand(-1, max(x.shape[1], len(patch.pixels)), -1, -1)
        shown = _shown(patch, x, corner, Draws.keyed(seed, torch.tensor([index])))
        levels = shown[0].mul(255).round().byte().permute(1, 2, 0).numpy()
        picture = Image.fromarray(levels[:, :, 0] if levels.shape[2] == 1 else levels)
        name = path.stem if alike[path.with_suffix("")] == 1 else path.name.removesuffix(".png")
        save(picture, (out / path.relative_to(folder)).with_name(f"{name}.png"))
    return len(files)


def _shown(
    patch: Patch, x: torch.Tensor, corner: tuple[int, int] | None, draws: Draws
) -> torch.Tensor:
    """One picture `[1,C,H,W]` with the patch on it."""
    patch = patch._replace(pixels=patch.pixels.expand(x.shape[1], -1, -1))
    if corner is None:
        return place(patch, x, Views(brightness=0.0).draw(patch, x, draws))
    (top, left), (height, width) = corner, patch.mask.shape
    if min(corner) < 0 or top + height > x.shape[2] or left + width > x.shape[3]:
        raise UserError(
            f"a patch of {height}x{width} inside a picture of {x.shape[2]}x{x.shape[3]}",
            f"its corner at row {top}, column {left}",
            "give smaller --top and --left, or a smaller patch",
        )
    return place(patch, x, upright(x, patch, top, left))


def sheet(patch: Patch, width: float, paper: str, dpi: int) -> tuple[Image.Image, int]:
    """A sheet of paper with as many copies as fit, each `width` centimetres wide; and how many.

    Raises UserError for a patch that is wider or higher than the paper within its margins.
    """
    rows, columns = patch.mask.shape
    sides = (width, width * rows / columns)
    room = [length - 2 * MARGIN for length in PAPER[paper]]
    if not width > 0 or any(side > most for side, most in zip(sides, room, strict=True)):
        raise UserError(
            f"a patch of at most {room[0]:g} x {room[1]:g} cm for {paper}",
            f"{sides[0]:g} x {sides[1]:g} cm",
            "give a smaller --width or a larger --paper",
        )
    page = Image.new("RGB", _dots(PAPER[paper], dpi), "white")
    values = torch.cat((patch.pixels.expand(3, -1, -1), patch.mask[None].float()))
    array = values.mul(255).round().byte().permute(1, 2, 0).numpy()
    print_size = _dots(sides, dpi)
    large = Image.fromarray(array, "RGBA").resize(print_size, Image.Resampling.NEAREST)
    count = 0
    for left, top in _corners(sides, room):
        page.paste(large, _dots((left, top), dpi), large)
        count += 1
    words = f"{sides[0]:g} x {sides[1]:g} cm at {dpi} dpi: print at 100 %"
    ImageDraw.Draw(page).text(_dots((MARGIN, 0.3), dpi), words, fill="grey")
    return page, count


def _dots(lengths: tuple[float, float], dpi: int) -> tuple[int, int]:
    """Centimetres as dots."""
    return round(lengths[0] / INCH * dpi), round(lengths[1] / INCH * dpi)


def _corners(sides: tuple[float, float], room: list[float]) -> Iterator[tuple[float, float]]:
    """Where the copies lie, in centimetres from the left and the top."""
    across, down = (
        int((most + GAP + 1e-9) // (side + GAP)) for side, most in zip(sides, room, strict=True)
    )
    for row in range(down):
        for column in range(across):
            yield MARGIN + column * (sides[0] + GAP), MARGIN + row * (sides[1] + GAP)
