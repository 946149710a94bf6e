"""What `detect` does: attack a detector's pictures, measure before and after, draw some."""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from robustkit import __version__
from robustkit.attacks.patch import Patch, Recipe, Views, check_fits, place, upright
from robustkit.attacks.robust_dpatch import corner, robust_dpatch, upright_at
from robustkit.attacks.sight import sight
from robustkit.audit.detection import (
    attack_each,
    check_labels,
    detect_all,
    precision,
    rounded,
    same_size,
    tally,
)
from robustkit.audit.statistics import clopper_pearson
from robustkit.draws import Draws
from robustkit.errors import UserError
from robustkit.loading.extras import need
from robustkit.rectangle import sides
from robustkit.report.detection import Drawing
from robustkit.threat import ThreatModel
from robustkit.verbs.boxes import Panel, beside, draw_boxes

if TYPE_CHECKING:
    from robustkit.detector import Boxes, Detector
    from robustkit.loading.coco import Scene, Scenes

EXAMPLES = 6
PLACES = {"corner": 0.0, "centre": 0.5, "anywhere": None}
"""Where a patch lies, as a share of the room there is; None where it is drawn."""


@dataclass(frozen=True)
class Wish:
    """What the attacker may do and wants; `attack` is None for one patch for all pictures."""

    threat: ThreatModel
    objective: str
    target: int | None
    confidence: float
    attack: str | None
    place: str = "corner"
    steps: int = 200
    step_size: float = 0.05
    seed: int = 0


class Attacked(NamedTuple):
    """The measured scenes, their pictures under attack and with noise instead, and the patch."""

    scenes: Sequence["Scene"]
    pictures: list[Tensor]
    control: list[Tensor]
    patch: Patch | None


def attacked(detector: "Detector", scenes: "Scenes", wish: Wish) -> Attacked:
    """Attack every picture by itself, or train a patch on every other one for the rest."""
    if wish.attack is None:
        return _patched(detector, scenes.scenes, wish)
    pictures = [scene.x for scene in scenes.scenes]
    made = attack_each(
        detector, pictures, wish.threat, objective=wish.objective, confidence=wish.confidence,
        target=wish.target, attack=wish.attack, seed=wish.seed,
    )  # fmt: skip
    noise = [
        rounded(wish.threat.sample(x[None], Draws.keyed(wish.seed, torch.tensor([row])))[0])
        for row, x in enumerate(pictures)
    ]
    return Attacked(scenes.scenes, made, noise, None)


def _patched(detector: "Detector", scenes: Sequence["Scene"], wish: Wish) -> Attacked:
    if len(scenes) < 2:
        raise UserError("at least two pictures", str(len(scenes)), "give more --data or --samples")
    model = sight(detector, wish.objective, confidence=wish.confidence, target=wish.target)
    x = _stacked([scene.x for scene in scenes[::2]])
    height, width = sides(x[:1], wish.threat.budget(x[:1]), wish.threat.shape)
    size = int(height), int(width)
    share = PLACES[wish.place]
    views = Views() if share is None else upright_at(x, size, share)
    recipe = Recipe(size, steps=wish.steps, step_size=wish.step_size)
    patch = robust_dpatch(model, x, recipe=recipe, views=views, seed=wish.seed)
    patch = patch._replace(pixels=rounded(patch.pixels))
    noise = torch.rand(3, *size, generator=torch.Generator().manual_seed(wish.seed))
    shown = [
        [rounded(_placed(one, scene.x, row, wish)) for row, scene in enumerate(scenes[1::2])]
        for one in (patch, Patch(rounded(noise), patch.mask))
    ]
    return Attacked(scenes[1::2], shown[0], shown[1], patch)


def _stacked(pictures: list[Tensor]) -> Tensor:
    """Pictures `[N,C,H,W]`, those of another size stretched to the most frequent one."""
    size = pictures[max(same_size(pictures), key=len)[0]].shape[1:]
    stretched = [
        x[None] if x.shape[1:] == size else interpolate(x[None], size=tuple(size), mode="bilinear")
        for x in pictures
    ]
    return torch.cat(stretched)


def _placed(patch: Patch, x: Tensor, row: int, wish: Wish) -> Tensor:
    """One picture `[C,H,W]` with the patch at its place, or where it is drawn."""
    one, share = x[None], PLACES[wish.place]
    check_fits(patch, one)
    if share is None:
        drawn = Views().draw(patch, one, Draws.keyed(wish.seed, torch.tensor([row])))
    else:
        drawn = upright(one, patch, *corner(one, (patch.mask.shape[0], patch.mask.shape[1]), share))
    return place(patch, one, drawn)[0]


def measured(
    detector: "Detector", scenes: "Scenes", made: Attacked, wish: Wish
) -> tuple[dict[str, Any], list[Drawing]]:
    """Everything that is to be said, and pictures of the scenes where most objects vanished."""
    clean_pictures = [scene.x for scene in made.scenes]
    clean = detect_all(detector, clean_pictures, wish.confidence)
    after = detect_all(detector, made.pictures, wish.confidence)
    control = detect_all(detector, made.control, wish.confidence)
    rows = {
        name: _condition(made.scenes, clean, found, wish.target, scenes.categories)
        for name, found in (("clean", clean), ("attacked", after), ("control", control))
    }
    gone, found = rows["attacked"]["vanished"], rows["clean"]["found"]
    notes = list(detector.notes)
    if not found:
        notes.append("nothing is found on the clean pictures: are the category ids its labels?")
    facts = {
        "model": detector.name, "sha256": detector.sha256, "source": detector.source,
        "data": scenes.name, "data_sha256": scenes.sha256, "pictures": len(made.scenes),
        "objects": sum(len(scene.truth.labels) for scene in made.scenes), **rows,
        "vanished": {
            "count": gone, "of": found, "rate": gone / found if found else nan,
            "interval": clopper_pearson(gone, found),
        },
        "notes": notes, "version": __version__,
    }  # fmt: skip
    lost = [
        tally([scene], [old], [new], None).vanished
        for scene, old, new in zip(made.scenes, clean, after, strict=True)
    ]
    chosen = sorted(range(len(lost)), key=lambda row: (-lost[row], row))[:EXAMPLES]
    panels = [
        (
            made.scenes[row].name,
            Panel(f"before: {len(clean[row].labels)} boxes", clean_pictures[row], clean[row]),
            Panel(f"after: {len(after[row].labels)} boxes", made.pictures[row], after[row]),
        )
        for row in chosen
    ]
    return facts, [_drawing(name, pair, scenes.categories) for name, *pair in panels]


def _condition(
    scenes: Sequence["Scene"],
    clean: Sequence["Boxes"],
    found: Sequence["Boxes"],
    target: int | None,
    names: dict[int, str],
) -> dict[str, Any]:
    """One row of the report."""
    average, counts = precision(scenes, found), asdict(tally(scenes, clean, found, target))
    by_class = {names[label]: value for label, value in average.by_label.items()}
    return {"map": average.map, "map50": average.map50, "by_class": by_class, **counts}


def _drawing(name: str, panels: Sequence[Panel], names: dict[int, str]) -> Drawing:
    held = io.BytesIO()
    beside([draw_boxes(panel, names) for panel in panels]).save(held, "PNG")
    return Drawing(held.getvalue(), f"{name}: {panels[0].title}, {panels[1].title}")


def prepare(detector: "Detector", scenes: "Scenes") -> None:
    """Refuse data whose labels the detector never gives, and a machine that cannot measure."""
    need("pycocotools.cocoeval", why="mAP")
    labels = sorted({int(one) for scene in scenes.scenes for one in scene.truth.labels})
    check_labels(detector, labels, scenes.scenes[0].x[None])


def find_label(text: str | None, categories: dict[int, str]) -> int | None:
    """The label of a category by its name or number; raises UserError for another.

    >>> find_label("stop sign", {13: "stop sign"}), find_label("13", {13: "stop sign"})
    (13, 13)
    """
    if text is None:
        return None
    for label, name in categories.items():
        if text in (name, str(label)):
            return label
    known = ", ".join(list(categories.values())[:20])
    raise UserError(f"a category of the data: {known}", repr(text), "choose one of them")


def write_pictures(folder: Path, made: Attacked, drawings: Sequence[Drawing]) -> None:
    """Write drawings, attacked pictures and the patch into the run's folder."""
    from PIL import Image

    from robustkit.atomic import write_bytes
    from robustkit.verbs.patches import save, write_patch

    for number, drawing in enumerate(drawings):
        write_bytes(folder / "examples" / f"{number:02}.png", drawing.png)
    for number, x in enumerate(made.pictures):
        array = x.mul(255).round().byte().permute(1, 2, 0).contiguous().numpy()
        stem = Path(made.scenes[number].name).stem
        save(Image.fromarray(array), folder / "attacked" / f"{number:05}-{stem}.png")
    if made.patch is not None:
        write_patch(folder / "patch.png", made.patch, {})
