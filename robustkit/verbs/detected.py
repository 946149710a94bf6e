"""What `detect` says: precision before and after, what became of each object, some drawings."""

import io
from collections.abc import Sequence
from dataclasses import asdict
from math import nan
from typing import TYPE_CHECKING, Any

from robustkit import __version__
from robustkit.audit.average_precision import precision
from robustkit.audit.detection import tally
from robustkit.audit.statistics import clopper_pearson
from robustkit.errors import UserError
from robustkit.loading.folder import read_picture
from robustkit.report.detection import Drawing
from robustkit.verbs.boxes import Panel, beside, draw_boxes
from robustkit.verbs.detecting import Attacked, Wish

if TYPE_CHECKING:
    from robustkit.detector import Boxes, Detector
    from robustkit.loading.coco import Scenes

EXAMPLES = 6


def measured(
    detector: "Detector", scenes: "Scenes", made: Attacked, wish: Wish
) -> tuple[dict[str, Any], list[Drawing]]:
    """Everything that is to be said, and pictures of the scenes where most objects vanished."""
    rows = {key: _condition(made, key, wish, scenes.categories) for key in made.seen}
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
        "trained_on": len(scenes.scenes) - len(made.scenes),
        "notes": notes, "version": __version__,
    }  # fmt: skip
    return facts, _drawings(made, scenes.categories)


def _condition(made: Attacked, key: str, wish: Wish, names: dict[int, str]) -> dict[str, Any]:
    """One row of the report."""
    average = precision(made.scenes, made.seen[key], seed=wish.seed)
    counts = tally(made.scenes, made.seen["clean"], made.seen[key], wish.target)
    by_class = {names[label]: value for label, value in average.by_label.items()}
    return {
        "map": average.map, "map_interval": average.interval, "map50": average.map50,
        "by_class": by_class, **asdict(counts),
    }  # fmt: skip


def _drawings(made: Attacked, names: dict[int, str]) -> list[Drawing]:
    """The scenes where most objects vanished, before and after."""
    before, after = made.seen["clean"], made.seen["attacked"]
    lost = [
        tally([scene], [old], [new], None).vanished
        for scene, old, new in zip(made.scenes, before, after, strict=True)
    ]
    chosen = sorted(range(len(lost)), key=lambda row: (-lost[row], row))[:EXAMPLES]
    drawings = []
    for row in chosen:
        changed = read_picture(made.pictures[row]).float() / 255
        panels = (
            Panel(_title("before", before[row]), made.scenes[row].x, before[row]),
            Panel(_title("after", after[row]), changed, after[row]),
        )
        drawings.append(_drawing(made.scenes[row].name, panels, names))
    return drawings


def _title(when: str, boxes: "Boxes") -> str:
    return f"{when}: {len(boxes.labels)} boxes"


def _drawing(name: str, panels: Sequence[Panel], names: dict[int, str]) -> Drawing:
    held = io.BytesIO()
    beside([draw_boxes(panel, names) for panel in panels]).save(held, "PNG")
    return Drawing(held.getvalue(), f"{name}: {panels[0].title}, {panels[1].title}")


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
