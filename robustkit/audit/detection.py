"""Detectors, measured: what vanished and what was made up; and attacked.

A detection counts from a confidence on, the same for all of them; below it there is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robustkit.attacks import build
from robustkit.audit.attacking import judged
from robustkit.audit.engine import Engine, Task
from robustkit.detector import Boxes, Detector
from robustkit.errors import UserError
from robustkit.goal import Goal
from robustkit.loading.coco import Scene
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

OVERLAP = 0.5
"""The intersection over union from which on a detection is one of an object."""


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


def attack_each(
    model: Classifier,
    x: Tensor,
    threat: ThreatModel,
    *,
    attack: str = "pgd",
    index: Sequence[int] | None = None,
    seed: int = 0,
) -> Tensor:
    """Pictures `x` `[B,C,H,W]`, each attacked by itself; rounded to 8 bits.

    `model` is what `robustkit.attacks.sight.sight` gives, `attack` one of the catalogue. What is
    drawn belongs to the numbers in `index`, by default the places in the batch. Pictures that the
    attack cannot win are as near to it as it came.
    """
    rows = torch.arange(len(x)) if index is None else torch.tensor(index)
    task = Task(model, x, Goal(torch.zeros(len(x), dtype=torch.int64)), threat, rows)
    with model.frozen(seed):
        return rounded(judged(build(attack), task, Engine(seed=seed)).x_adv)


def batches(scenes: Sequence[Scene], most: int) -> list[list[int]]:
    """The places of scenes of one size together, at most so many at a time.

    >>> nothing = Boxes.of([], [])
    >>> flat, high = (Scene("", torch.zeros(3, h, 8), (h, 8), nothing, nothing) for h in (4, 9))
    >>> batches([flat, high, flat, flat], 2)
    [[0, 2], [3], [1]]
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for row, scene in enumerate(scenes):
        groups.setdefault(scene.size, []).append(row)
    return [rows[at : at + most] for rows in groups.values() for at in range(0, len(rows), most)]


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
