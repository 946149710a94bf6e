"""Average precision of a detector, and how far the choice of pictures may have moved it.

The number is pycocotools' own, so that it is that of the COCO papers. Its interval comes from a
bootstrap over pictures (Efron & Tibshirani 1993): a resample counts every picture as often as it
was drawn. mAP is the higher the fewer different pictures there are, so that resamples lie above
the number itself; they say how far it scatters, around their own mean, not where it lies. What the
interval means to hold is therefore the mean mAP of so many pictures, not that of infinitely many.
It is too narrow for fewer than about 16 pictures, and where mAP is close to 1. Where every resample
has the same mAP, as when nothing is found, it is the exact one of as many pictures, each of them
right or wrong as a whole.
"""

import contextlib
import io
from collections.abc import Sequence
from math import nan
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from robustkit.audit.statistics import clopper_pearson
from robustkit.detector import Boxes
from robustkit.loading.coco import Scene
from robustkit.loading.extras import need

RESAMPLES = 1000
ROOM = 2**22
"""How many numbers of resampled curves are held at once."""

TINY = 1e-9
"""Resamples whose mAP differs by less have the same: sums round."""

Floats = NDArray[np.float64]


class Precision(NamedTuple):
    """Average precision: mean over IoU .5 to .95, at .5, and of each label; nan without objects.

    `interval` is the 95 % interval of `map`.
    """

    map: float
    map50: float
    by_label: dict[int, float]
    interval: tuple[float, float]


class Curve(NamedTuple):
    """Detections of one label, surest first: `right` and `wrong` `[T,D]` at each overlap.

    `picture` `[D]` is where each was made, `objects` `[N]` how many there are on each picture.
    """

    right: NDArray[np.bool_]
    wrong: NDArray[np.bool_]
    picture: NDArray[np.int64]
    objects: Floats


def precision(scenes: Sequence[Scene], found: Sequence[Boxes], *, seed: int = 0) -> Precision:
    """Average precision of what was `found` on each of the scenes; crowds count for nothing.

    >>> from robustkit.detector import Boxes
    >>> truth, nothing = Boxes.of([[0, 0, 8, 8]], [1]), Boxes.of([], [])
    >>> scene = Scene("a", torch.zeros(3, 8, 8, dtype=torch.uint8), (8, 8), truth, nothing)
    >>> [round(precision([scene], [boxes]).map, 6) for boxes in (truth, nothing)]
    [1.0, 0.0]
    """
    labels = sorted({int(one) for scene in scenes for one in scene.truth.labels})
    if not labels:
        return Precision(nan, nan, {}, (nan, nan))
    rows = [row for index, boxes in enumerate(found) for row in _rows(index, boxes)]
    if not rows:
        return Precision(0.0, 0.0, dict.fromkeys(labels, 0.0), _whole(0.0, len(scenes)))
    coco, evaluation = (need(f"pycocotools.{part}", why="mAP") for part in ("coco", "cocoeval"))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = _dataset(scenes, labels)
        truth.createIndex()
        judge = evaluation.COCOeval(truth, truth.loadRes(rows), "bbox")
        # All sizes, and the 100 surest.
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.params.maxDets = [100]
        judge.params.catIds = labels
        judge.evaluate()
        judge.accumulate()
    # Overlaps, recalls, labels.
    table = judge.eval["precision"][:, :, :, 0, 0]
    by_label = {one: float(table[:, :, k].mean()) for k, one in enumerate(labels)}
    value = float(table.mean())
    spread = interval(_curves(judge.evalImgs, len(scenes)), value, seed=seed)
    return Precision(value, float(table[0].mean()), by_label, spread)


def interval(curves: Sequence[Curve], value: float, *, seed: int) -> tuple[float, float]:
    """The 95 % interval of a `value` of mAP."""
    pictures = len(curves[0].objects)
    dice = np.random.default_rng(seed)
    share = np.full(pictures, 1 / pictures)
    drawn = dice.multinomial(pictures, share, size=RESAMPLES).astype(np.float64)
    found = averages(curves, drawn)
    if np.nanmax(found) - np.nanmin(found) < TINY:
        return _whole(value, pictures)
    low, high = value + np.nanquantile(found, (0.025, 0.975)) - np.nanmean(found)
    return max(0.0, float(low)), min(1.0, float(high))


def _whole(value: float, pictures: int) -> tuple[float, float]:
    """The exact interval of a share of pictures; one of them says nothing of others: 0 to 1."""
    return clopper_pearson(round(value * pictures), pictures) if pictures > 1 else (0.0, 1.0)


def averages(curves: Sequence[Curve], weights: Floats) -> Floats:
    """Mean average precision `[R]` where picture n counts `weights[r, n]` times.

    Labels without an object in a resample are no part of its mean; nan where none has any.
    """
    by_label = np.stack([_average(curve, weights) for curve in curves])
    known = ~np.isnan(by_label)
    mean: Floats = np.where(known, by_label, 0.0).sum(0) / np.maximum(known.sum(0), 1)
    return np.where(known.any(0), mean, nan)


def _average(curve: Curve, weights: Floats) -> Floats:
    """Average precision `[R]` of one label, interpolated at 101 recalls as COCO does."""
    objects = weights @ curve.objects
    result = np.where(objects > 0, 0.0, nan)
    most = max(1, ROOM // max(1, curve.right.size))
    for at in range(0, len(weights) if curve.right.size else 0, most):
        part = slice(at, at + most)
        times = weights[part, None, :][:, :, curve.picture]
        right, wrong = ((times * kind).cumsum(-1) for kind in (curve.right, curve.wrong))
        exact = right / (right + wrong + np.spacing(1))
        best = np.maximum.accumulate(exact[..., ::-1], -1)[..., ::-1]
        recall = right / np.maximum(objects[part, None, None], 1.0)
        reached = np.searchsorted(_RECALLS, recall, side="right")
        gained = np.diff(reached, axis=-1, prepend=0)
        result[part] += (gained * best).sum(-1).mean(-1) / len(_RECALLS)
    return result


_RECALLS = np.linspace(0.0, 1.0, 101)


def _curves(judged: Sequence[dict[str, Any] | None], pictures: int) -> list[Curve]:
    """What pycocotools found out of each label, label by label and picture by picture."""
    curves = []
    for at in range(0, len(judged), pictures):
        rows = [(n, one) for n, one in enumerate(judged[at : at + pictures]) if one is not None]
        objects = np.zeros(pictures)
        for n, one in rows:
            objects[n] = np.count_nonzero(np.asarray(one["gtIgnore"]) == 0)
        sure = np.concatenate([np.asarray(one["dtScores"], np.float64) for _, one in rows])
        order = np.argsort(-sure, kind="stable")
        met, void = (
            np.concatenate([one[key] for _, one in rows], axis=1)[:, order].astype(bool)
            for key in ("dtMatches", "dtIgnore")
        )
        where = np.concatenate([np.full(len(one["dtScores"]), n) for n, one in rows])[order]
        curves.append(Curve(met & ~void, ~met & ~void, where, objects))
    return curves


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
