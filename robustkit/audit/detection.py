"""Detectors, measured: average precision, what vanished, what was made up; and attacked.

Average precision is pycocotools' own, so that the numbers are those of the COCO papers. A detection
counts from a confidence on, the same for all of them; below it there is none.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robustkit.attacks import build
from robustkit.attacks.sight import sight
from robustkit.audit.attacking import judged
from robustkit.audit.engine import Engine, Task
from robustkit.detector import Boxes, Detector
from robustkit.errors import UserError
from robustkit.goal import Goal
from robustkit.loading.coco import Scene
from robustkit.loading.extras import need
from robustkit.threat import ThreatModel

OVERLAP = 0.5
"""The intersection over union from which on a detection is one of an object."""


class Precision(NamedTuple):
    """Average precision: mean over IoU .5 to .95, at .5, and of each label; nan without objects."""

    map: float
    map50: float
    by_label: dict[int, float]


@dataclass(frozen=True)
class Tally:
    """What became of the objects that are found on the clean pictures, and what was made up.

    `vanished` are no longer found, `relabelled` are those of them that are seen as `target`, or
    without one as anything else; `false_boxes` counts detections of nothing.
    """

    found: int
    vanished: int
    relabelled: int
    false_boxes: int


def precision(scenes: Sequence[Scene], found: Sequence[Boxes]) -> Precision:
    """Average precision of what was `found` on each of the scenes; crowds count for nothing.

    >>> from robustkit.detector import Boxes
    >>> truth, nothing = Boxes.of([[0, 0, 8, 8]], [1]), Boxes.of([], [])
    >>> scene = Scene("a", torch.zeros(3, 8, 8, dtype=torch.uint8), truth, nothing)
    >>> [round(precision([scene], [boxes]).map, 6) for boxes in (truth, nothing)]
    [1.0, 0.0]
    """
    labels = sorted({int(one) for scene in scenes for one in scene.truth.labels})
    if not labels:
        return Precision(nan, nan, {})
    rows = [row for index, boxes in enumerate(found) for row in _rows(index, boxes)]
    if not rows:
        return Precision(0.0, 0.0, dict.fromkeys(labels, 0.0))
    coco, evaluation = (need(f"pycocotools.{part}", why="mAP") for part in ("coco", "cocoeval"))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = _dataset(scenes, labels)
        truth.createIndex()
        judge = evaluation.COCOeval(truth, truth.loadRes(rows), "bbox")
        judge.params.catIds = labels
        judge.evaluate()
        judge.accumulate()
    # Overlaps, recalls, labels, all sizes, the 100 surest.
    table = judge.eval["precision"][:, :, :, 0, -1]
    by_label = {one: float(table[:, :, k].mean()) for k, one in enumerate(labels)}
    return Precision(float(table.mean()), float(table[0].mean()), by_label)


def _rows(index: int, boxes: Boxes) -> list[dict[str, Any]]:
    """Boxes as COCO writes them: the corner, width and height."""
    sides = torch.cat((boxes.boxes[:, :2], boxes.boxes[:, 2:] - boxes.boxes[:, :2]), 1)
    columns = zip(sides.tolist(), boxes.labels.tolist(), boxes.scores.tolist(), strict=True)
    return [
        {"image_id": index, "bbox": side, "category_id": label, "score": score}
        for side, label, score in columns
    ]


def _dataset(scenes: Sequence[Scene], labels: Sequence[int]) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for index, scene in enumerate(scenes):
        for crowd, boxes in enumerate((scene.truth, scene.crowds)):
            for row in _rows(index, boxes):
                area = row["bbox"][2] * row["bbox"][3]
                key = len(annotations) + 1
                annotations.append(row | {"id": key, "area": area, "iscrowd": crowd})
    return {
        "info": {},
        "images": [{"id": index} for index in range(len(scenes))],
        "annotations": annotations,
        "categories": [{"id": label} for label in labels],
    }


def pair(found: Boxes, truth: Boxes) -> Tensor:
    """Which detection is that of each object, `[N]` int64; -1 where there is none.

    The surest detection chooses first, among the objects of its label that it overlaps enough.

    >>> pair(Boxes.of([[0, 0, 4, 4], [9, 9, 12, 12]], [2, 1]), Boxes.of([[0, 0, 4, 5]], [2]))
    tensor([0])
    """
    overlap = _overlap(found, truth)
    overlap = overlap.masked_fill(found.labels[:, None] != truth.labels[None], 0.0)
    chosen = torch.full((len(truth.labels),), -1)
    for index in found.scores.argsort(descending=True, stable=True).tolist():
        free = overlap[index].masked_fill(chosen >= 0, 0.0)
        if len(free) and float(free.max()) >= OVERLAP:
            chosen[free.argmax()] = index
    return chosen


def _overlap(found: Boxes, truth: Boxes) -> Tensor:
    """Intersection over union of every detection with every object, `[N,M]`."""
    ours, theirs = found.boxes[:, None], truth.boxes[None]
    sides = (torch.minimum(ours, theirs)[..., 2:] - torch.maximum(ours, theirs)[..., :2]).clamp_min(
        0
    )
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(-1) for boxes in (ours, theirs)]
    shared = sides.prod(-1)
    return shared / (areas[0] + areas[1] - shared).clamp_min(1e-9)


def tally(
    scenes: Sequence[Scene], clean: Sequence[Boxes], after: Sequence[Boxes], target: int | None
) -> Tally:
    """Count over all scenes what is found `clean` and what became of it `after`."""
    counts = torch.zeros(4, dtype=torch.int64)
    for scene, before, now in zip(scenes, clean, after, strict=True):
        had, has = pair(before, scene.truth) >= 0, pair(now, scene.truth)
        gone = had & (has < 0)
        other = now.labels[:, None] != scene.truth.labels[None]
        if target is not None:
            other &= now.labels[:, None] == target
        renamed = gone & ((_overlap(now, scene.truth) >= OVERLAP) & other).any(0)
        false = len(now.labels) - int((has >= 0).sum())
        counts += torch.tensor([int(had.sum()), int(gone.sum()), int(renamed.sum()), false])
    return Tally(*counts.tolist())


def detect_all(detector: Detector, pictures: Sequence[Tensor], confidence: float) -> list[Boxes]:
    """What is seen on pictures `[C,H,W]` of any sizes, one at a time."""
    return [detector.detect(picture[None], confidence)[0] for picture in pictures]


def attack_each(  # noqa: PLR0913 - what is wanted of which detector, all named
    detector: Detector,
    pictures: Sequence[Tensor],
    threat: ThreatModel,
    *,
    objective: str,
    confidence: float,
    target: int | None = None,
    attack: str = "pgd",
    seed: int = 0,
) -> list[Tensor]:
    """Each picture attacked by itself, in batches of those of one size; rounded to 8 bits.

    `attack` is one of the catalogue. Pictures that it cannot win are as near to it as it came.
    """
    model, chosen = sight(detector, objective, confidence=confidence, target=target), build(attack)
    made = list(pictures)
    for rows in same_size(pictures):
        x = torch.stack([pictures[row] for row in rows])
        goal = Goal(torch.zeros(len(x), dtype=torch.int64))
        with model.frozen(seed):
            result = judged(
                chosen, Task(model, x, goal, threat, torch.tensor(rows)), Engine(seed=seed)
            )
        for row, picture in zip(rows, result.x_adv, strict=True):
            made[row] = rounded(picture)
    return made


def same_size(pictures: Sequence[Tensor]) -> list[list[int]]:
    """The places of pictures of one size together."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, picture in enumerate(pictures):
        groups.setdefault(tuple(picture.shape), []).append(row)
    return list(groups.values())


def rounded(x: Tensor) -> Tensor:
    """Pixels in [0, 1] as a file holds them, in whole steps of 1/255."""
    return x.mul(255).round().div(255)


def check_labels(detector: Detector, labels: Sequence[int], x: Tensor) -> None:
    """Raises UserError for labels that the detector never gives; asks it about pictures `x`."""
    with detector.frozen(), torch.no_grad():
        count = detector.odds(x.to(detector.device)).shape[-1]
    wrong = [label for label in labels if not 0 <= label < count]
    if wrong:
        raise UserError(
            f"categories from 0 to {count - 1}, the labels of {detector.name}",
            f"category {wrong[0]}",
            "number the categories as the detector was trained",
        )
