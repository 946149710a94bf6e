"""What a model that abstains is worth: its numbers with, without, and with limited credit for it.

Robust accuracy with rejection (Tramer 2022, arXiv 2107.11630) calls a sample robust if the model
is right on it and, within the budget, right or silent. A detector can win that by being silent at
everything slightly odd; so two stricter numbers stand beside it: without any credit for silence,
and with credit only for perturbations larger than a share of the budget (stratified rejection,
Chen et al. 2023, arXiv 2305.01139).
"""

from dataclasses import replace

import torch
from torch import Tensor

from robustkit.attacks import build
from robustkit.audit.adaptive import CLIMBS, aimed
from robustkit.audit.attacking import judged
from robustkit.audit.bout import Ring
from robustkit.audit.engine import Task
from robustkit.audit.standing import Clean, Standing
from robustkit.goal import Goal
from robustkit.records import RejectionRecord
from robustkit.threat import ThreatModel

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the budget up to which silence earns no credit."""


def rejection(ring: Ring, standing: Standing, clean: Clean) -> RejectionRecord | None:
    """The record of a model that abstains, under one threat; None for any other model.

    The model must be frozen.
    """
    if ring.model.abstain is None:
        return None
    y, kept = ring.samples.y, standing.counted()
    count = max(standing.reached, 1)
    right = clean.right(y)
    robust = standing.robust(right)
    curve = _stratified(ring, standing, robust[kept].nonzero().squeeze(1))
    turned = int((clean.prediction == ring.model.abstain)[kept].sum())
    return RejectionRecord(
        clean_accuracy_without=int((_answers(ring)[kept] == y[kept]).sum()) / count,
        clean_accuracy_with=int(right[kept].sum()) / count,
        false_alarms=turned / count,
        robust_accuracy=int(robust[kept].sum()) / count,
        no_credit=curve[-1] / count,
        stratified=tuple((share, left / count) for share, left in zip(SHARES, curve, strict=True)),
    )


def _answers(ring: Ring) -> Tensor:
    """What the model says of every clean picture if it may not abstain, `[N]`."""
    labels = []
    with torch.no_grad():
        for rows in torch.arange(len(ring.samples)).split(ring.engine.batch_size):
            logits = ring.model(ring.samples.pixels(rows).to(ring.model.device))
            labels.append(logits[:, : ring.model.abstain].argmax(1).cpu())
    return torch.cat(labels)


def _stratified(ring: Ring, standing: Standing, rows: Tensor) -> list[int]:
    """How many of the robust samples `rows` stay so where silence earns nothing up to each share.

    What fools or silences within a share of the budget does so within every larger share.
    """
    threat = ThreatModel.parse(standing.threat, ring.model.bounds)
    left = [len(rows)]
    for share in SHARES[1:]:
        for climb in CLIMBS.get(threat.norm_name, ()):
            if len(rows):
                rows = rows[
                    ~_silenced(ring, climb, threat.with_eps(share * float(threat.eps)), rows)
                ]
        left.append(len(rows))
    return left


def _silenced(ring: Ring, climb: str, threat: ThreatModel, rows: Tensor) -> Tensor:
    """Which of the samples another answer than the label is found for, silence included."""
    x = ring.samples.pixels(rows)
    task = Task(ring.model, x, Goal(ring.samples.y[rows]), threat, rows)
    engine = replace(ring.engine, deadline=None)
    return judged(build(aimed(climb, ring.model)), task, engine).fooled
