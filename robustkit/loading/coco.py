"""Pictures with boxes: a COCO file of annotations, and the folder that its pictures lie in."""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from robustkit.detector import Boxes
from robustkit.errors import RefusedError, UserError
from robustkit.loading.folder import read_picture

FORM = "a COCO file of annotations: JSON with images, annotations and categories"


class Scene(NamedTuple):
    """A picture of `size` (height, width), and what is on it; `crowds` are regions of no account.

    `source` is where it lies, or itself as uint8 `[3,H,W]`.
    """

    name: str
    source: Path | Tensor
    size: tuple[int, int]
    truth: Boxes
    crowds: Boxes

    @property
    def picture(self) -> Tensor:
        """The picture as uint8 `[3,H,W]`, read anew from where it lies: many do not fit at once."""
        if isinstance(self.source, Tensor):
            return self.source
        return read_picture(self.source).expand(3, -1, -1)

    @property
    def x(self) -> Tensor:
        """The pixels as float32 `[3,H,W]` in [0, 1]."""
        return self.picture.float().div_(255)


@dataclass(frozen=True)
class Scenes:
    """Pictures of any sizes with boxes; `categories` are the names of the labels."""

    scenes: tuple[Scene, ...]
    categories: dict[int, str]
    name: str
    sha256: str


def read_coco(
    annotations: Path, images: Path | None = None, *, samples: int | None = None
) -> Scenes:
    """The first `samples` pictures of a COCO file that are annotated at all.

    Each picture is read once here, and not kept. Labels are its category ids, as torchvision's
    detectors of COCO give them. The pictures are looked for in `images`, or else beside the file.
    Raises UserError where a path is wrong, RefusedError for another kind of file, for boxes that
    are none, and for a picture that is missing or cannot be read.
    """
    data = _read(annotations)
    folder = images or annotations.parent
    if not folder.is_dir():
        raise UserError("--images, a folder of pictures", repr(str(folder)), "check the path")
    try:
        categories = {int(one["id"]): str(one["name"]) for one in data["categories"]}
        files = {one["id"]: str(one["file_name"]) for one in data["images"]}
        boxes: dict[Any, list[tuple[list[float], int, bool]]] = {key: [] for key in files}
        for one in data["annotations"]:
            crowd = bool(one.get("iscrowd", 0))
            boxes[one["image_id"]].append((_corners(one), int(one["category_id"]), crowd))
        unknown = {label for rows in boxes.values() for _, label, _ in rows} - set(categories)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _not_coco(annotations, f"{type(error).__name__}: {error}") from None
    if unknown:
        raise _not_coco(annotations, f"category {min(unknown)}, which is not listed")
    chosen = [key for key in files if boxes[key]][:samples]
    if not chosen:
        raise _not_coco(annotations, "no picture with a box")
    digest = hashlib.sha256()
    scenes = tuple(_scene(folder, files[key], boxes[key], digest) for key in chosen)
    return Scenes(scenes, categories, annotations.name, digest.hexdigest())


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"--data, {FORM}", f"{str(path)!r}, which is no file", "check the path")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, RecursionError, ValueError) as error:
        raise _not_coco(path, f"no JSON ({type(error).__name__})") from None
    missing = [key for key in ("images", "annotations", "categories") if key not in data]
    if not isinstance(data, dict) or missing:
        raise _not_coco(path, f"JSON without {' and '.join(missing) or 'names'}")
    return data


def _not_coco(path: Path, what: str) -> RefusedError:
    return RefusedError(
        FORM,
        f"{path.name}: {what}",
        "give annotations of boxes; pictures with one label each are for robustkit audit",
    )


def _corners(annotation: dict[str, Any]) -> list[float]:
    left, top, width, height = (float(value) for value in annotation["bbox"])
    corners = [left, top, left + width, top + height]
    if not (width > 0 and height > 0 and all(math.isfinite(value) for value in corners)):
        raise ValueError(f"the box {annotation['bbox']}, which has no area")
    return corners


def _scene(
    folder: Path, name: str, rows: list[tuple[list[float], int, bool]], digest: "hashlib._Hash"
) -> Scene:
    """One scene; its name, pixels and boxes go into the digest."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
        raise RefusedError(
            f"every annotated picture in {folder.name}", f"no {name} there", "check --images"
        )
    kinds = ([row for row in rows if row[2] is crowd] for crowd in (False, True))
    truth, crowds = (Boxes.of([row[0] for row in kind], [row[1] for row in kind]) for kind in kinds)
    picture = read_picture(path).expand(3, -1, -1)
    digest.update(f"{name}\0{tuple(picture.shape)}".encode())
    digest.update(picture.contiguous().numpy().data)
    for boxes in (truth, crowds):
        digest.update(boxes.boxes.numpy().data)
        digest.update(boxes.labels.numpy().data)
    return Scene(name, path, (picture.shape[1], picture.shape[2]), truth, crowds)
