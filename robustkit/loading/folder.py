"""Data sets as pictures: a folder of class folders, and any run of pictures with labels."""

import warnings
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from robustkit.errors import RefusedError
from robustkit.loading.samples import Samples

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

LAYOUT = "a folder with one folder of pictures per class"


def read_folder(path: Path, *, samples: int | None = None) -> Samples:
    """The pictures of `path/CLASS/PICTURE`; the label is the class's place in sorted order.

    Classes take turns (the first picture of each, then the second of each, ...), so that the first
    `samples` are spread over the classes. Ids are paths relative to `path`. Grey stays one channel
    where every picture is grey; anything else becomes RGB, without alpha.

    Raises RefusedError where there is no picture, one cannot be read, or sizes differ.
    """
    classes = sorted(p.name for p in path.iterdir() if p.is_dir() and p.name[0] != ".")
    found: list[tuple[int, int, Path]] = []
    for label, name in enumerate(classes):
        inside = (path / name).rglob("*")
        pictures = sorted(p for p in inside if p.suffix.lower() in SUFFIXES and p.is_file())
        found += [(turn, label, picture) for turn, picture in enumerate(pictures)]
    if not found:
        got = "none in its class folders" if classes else "no class folders"
        raise RefusedError(
            f"{LAYOUT} ({', '.join(SUFFIXES)})",
            f"{got} at {path}",
            "lay the pictures out as CLASS/PICTURE.png, or give an .npz",
        )
    found = sorted(found)[:samples]
    ids = [picture.relative_to(path).as_posix() for _, _, picture in found]
    return of_pictures(
        ((_opened(picture), label) for _, label, picture in found),
        ids=ids,
        classes=classes,
        name=path.resolve().name,
    )


def of_pictures(
    pairs: Iterable[tuple[Image.Image, int]],
    *,
    samples: int | None = None,
    ids: Sequence[str] = (),
    classes: Sequence[str] = (),
    name: str = "pictures",
) -> Samples:
    """Samples from (picture, label) pairs, all of one size, at most `samples` of them."""
    arrays: list[np.ndarray] = []
    labels: list[int] = []
    for picture, label in islice(pairs, samples):
        arrays.append(_pixels(picture))
        labels.append(int(label))
        if arrays[-1].shape[:2] != arrays[0].shape[:2]:
            here = ids[len(arrays) - 1] if ids else str(len(arrays) - 1)
            sizes = [f"{array.shape[0]}x{array.shape[1]}" for array in (arrays[0], arrays[-1])]
            raise RefusedError(
                f"pictures of one size, here {sizes[0]} (height x width) like the first",
                f"{sizes[1]} in {here} of {name}",
                "resize or crop them to the size that the model was trained on",
            )
    if not arrays:
        raise RefusedError("at least one picture", f"none in {name}", "give another data set")
    if any(array.shape[2] == 3 for array in arrays):
        arrays = [np.broadcast_to(array, (*array.shape[:2], 3)) for array in arrays]
    x = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
    return Samples.of(x, torch.tensor(labels), ids=ids, classes=classes, name=name)


def read_picture(path: Path) -> torch.Tensor:
    """One picture file as uint8 `[C,H,W]`, C being 1 or 3; RefusedError where it cannot be read."""
    return torch.from_numpy(_pixels(_opened(path))).permute(2, 0, 1).contiguous()


def _opened(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                picture.load()
                return picture.copy()
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
        OSError,
        ValueError,
        SyntaxError,  # what PIL raises for a broken PNG
    ) as error:
        raise RefusedError(
            "a picture that can be read",
            f"{Path(*path.parts[-2:])} ({error})",
            "mend the file or take it out of the data set",
        ) from None


def _pixels(picture: Image.Image) -> np.ndarray:
    """A picture as uint8 `[H,W,C]`, C being 1 for the grey modes of eight bits and else 3."""
    grey = picture.mode in ("1", "L", "LA")
    array = np.array(picture.convert("L" if grey else "RGB"))
    return array[:, :, None] if grey else array
