"""What a patch needs: how often it succeeds by its size, by where it is, and by what it aims at.

Beside the audit's number, on a few of the pictures that the model gets right: every answer is an
attack of its own, of the same strength, so that the shares can be compared with each other.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from robustkit.attacks import build
from robustkit.audit.attacking import judged
from robustkit.audit.bout import Ring
from robustkit.audit.engine import Task
from robustkit.audit.standing import Clean, Standing
from robustkit.audit.statistics import clopper_pearson
from robustkit.goal import Goal
from robustkit.records import PatchRecord, PatchShare
from robustkit.rectangle import sides
from robustkit.threat import ThreatModel

ATTACK = "masked-apgd:steps=20"
FIXED = ATTACK + ",position=fixed,row={row:g},column={column:g}"
SAMPLES = 24
SIZES = (0.125, 0.25, 0.5, 1.0)
"""Areas, as shares of the threat's own."""
TICKS = (0.0, 0.5, 1.0)
"""Places along each side, as shares of the room there is."""
TARGETS = 10


def patch_study(ring: Ring, standing: Standing, clean: Clean) -> PatchRecord | None:
    """Success by size, place and target; None for other threats, and where no gradient is seen.

    Finished studies are kept in the ledger. The model must be frozen.
    """
    threat = ThreatModel.parse(standing.threat, ring.model.bounds)
    right = clean.right(ring.samples.y)[standing.counted()]
    rows = right.nonzero().squeeze(1)[:SAMPLES]
    if threat.norm_name != "patch" or ring.model.access != "white-box" or not len(rows):
        return None
    key = f"{standing.threat}|study"
    kept = ring.ledger.get(key)
    if kept is None:
        if ring.late:
            return None
        ring.progress.note(f"{standing.threat} by size, place and target, {len(rows)} samples")
        shares = _Shares(ring, rows)
        kept = {
            "samples": len(rows),
            "sizes": list(_by_size(shares, threat)),
            "places": [
                shares(FIXED.format(row=row, column=column), threat, f"{row:g},{column:g}")
                for row in TICKS
                for column in TICKS
            ],
            "targets": list(_by_target(shares, threat, clean.classes)),
        }
        ring.ledger.put(key, kept)
    return PatchRecord.model_validate(kept)


class _Shares:
    """Success on the chosen samples under one attack, as rows of a record."""

    def __init__(self, ring: Ring, rows: Tensor) -> None:
        self.ring, self.rows = ring, rows

    def __call__(
        self, attack: str, threat: ThreatModel, name: str, target: int | None = None
    ) -> dict[str, Any]:
        """The share of successes; samples of the class that is aimed at are left out."""
        samples, rows = self.ring.samples, self.rows
        if target is not None:
            rows = rows[samples.y[rows] != target]
        y = samples.y[rows]
        aim = None if target is None else torch.full_like(y, target)
        goal = Goal(y, aim, self.ring.model.abstain)
        count = 0
        if len(rows):
            task = Task(self.ring.model, samples.pixels(rows), goal, threat, rows)
            count = int(judged(build(attack), task, self.ring.engine).fooled.sum())
        share = PatchShare(
            name=name, fooled=count, samples=len(rows), interval=clopper_pearson(count, len(rows))
        )
        return share.model_dump(mode="json")


def _by_size(shares: _Shares, threat: ThreatModel) -> Iterator[dict[str, Any]]:
    """Smaller patches of the same proportions, each size in pixels once."""
    like = shares.ring.samples.pixels(slice(0, 1))
    sizes = {}
    for share in SIZES:
        smaller = threat.with_eps(float(threat.eps) * share)
        height, width = (int(side) for side in sides(like, smaller.budget(like), threat.shape))
        if height and width:
            sizes[f"{height}x{width}"] = smaller
    for name, smaller in sizes.items():
        yield shares(ATTACK, smaller, name)


def _by_target(shares: _Shares, threat: ThreatModel, classes: int) -> Iterator[dict[str, Any]]:
    """Up to `TARGETS` classes, evenly spread."""
    count = min(classes, TARGETS)
    for number in range(count):
        target = number * classes // count
        yield shares(ATTACK, threat, str(target), target)
