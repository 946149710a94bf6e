"""What goes wrong in adversarial training, and how it is noticed while there is time.

Catastrophic overfitting: the model learns to withstand one step and loses everything to several.
Collapse: it answers the same whatever it sees. Robust overfitting: it knows its training pictures.
"""

from math import isfinite, log
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from robustkit.attacks.attack import Attack, pose, unrolled
from robustkit.attacks.pgd import fgsm, pgd
from robustkit.defenses.training.inner import Batch
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.records import Record
from robustkit.threat import ThreatModel

Alarm = Literal["", "catastrophic overfitting", "collapse"]

GAP = 0.25
DROP = 0.15
MEMORISED = 0.15
"""From this gap of robust accuracy between training and validation on, a run warns."""
SLOW = 2
"""Epochs in which a model may still be guessing: from scratch, it first has to find a start."""
PIECE = 256
STEPS = 10


class Probe(Record):
    """What a few fixed training pictures say at one step; accuracies are fractions of them.

    `one_step` is the accuracy under FGSM, `multi_step` under PGD-10, both at the eps of the
    training at that moment. `largest_class` is the share of the commonest answer.
    """

    step: int
    eps: float
    one_step: float
    multi_step: float
    largest_class: float
    loss: float
    classes: int


class Scores(Record):
    """Clean and robust accuracy on pictures held out of training: fractions of `samples`."""

    clean: float
    robust: float
    samples: int


def probe(model: Classifier, batch: Batch, threat: ThreatModel) -> Probe:
    """Look at the model in evaluation mode; nothing of it is changed."""
    with model.frozen(), torch.no_grad():
        logits = torch.cat([model(x) for x in batch.x.split(PIECE)])
        loss = float(functional.cross_entropy(logits, batch.y))
        largest = int(logits.argmax(1).bincount().max()) / len(logits)
    return Probe(
        step=batch.step,
        eps=float(threat.eps),
        one_step=accuracy(model, batch, threat, fgsm()),
        multi_step=accuracy(model, batch, threat, pgd(steps=STEPS)),
        largest_class=largest,
        loss=loss,
        classes=logits.shape[1],
    )


def validate(model: Classifier, batch: Batch, threat: ThreatModel) -> Scores:
    """Clean accuracy, and that under 20 steps of PGD on the margin, in evaluation mode."""
    with model.frozen(), torch.no_grad():
        right = torch.cat([model(x).argmax(1) for x in batch.x.split(PIECE)]) == batch.y
    clean = int(right.sum()) / len(right)
    robust = accuracy(model, batch, threat, pgd(steps=20, loss="margin"), right)
    return Scores(clean=clean, robust=robust, samples=len(right))


def accuracy(
    model: Classifier,
    batch: Batch,
    threat: ThreatModel,
    attack: Attack,
    right: Tensor | None = None,
) -> float:
    """The share that the attack does not fool, among them only those that are `right` `[B]`."""
    robust = []
    with model.frozen():
        for rows in torch.arange(len(batch.y), device=batch.x.device).split(PIECE):
            index, goal = batch.index[rows], Goal(batch.y[rows])
            problem = pose(model, batch.x[rows], goal, threat, index=index, seed=batch.seed)
            robust.append(~unrolled(attack, problem).fooled)
    held = torch.cat(robust)
    return int((held if right is None else held & right).sum()) / len(held)


def alarm(now: Probe, *, best: float, warm: bool, epochs: float) -> Alarm:
    """What a probe gives away; `best` is the highest multi-step accuracy of earlier probes.

    At full eps (`warm`), FGSM 25 points above PGD is enough; while eps still grows, robustness
    falls by itself, so PGD must also have lost 15 points. A model that answers one class to more
    than 90 % with a loss within 2 % of guessing has collapsed, two `epochs` into the run; one
    whose loss is not finite has at any time.
    """
    if not isfinite(now.loss) or (guessing(now) and epochs >= SLOW):
        return "collapse"
    gap = now.one_step - now.multi_step > GAP
    if gap and (warm or now.multi_step < best - DROP):
        return "catastrophic overfitting"
    return ""


def guessing(now: Probe) -> bool:
    """Whether the model gives one answer to nearly everything, and knows no more than chance."""
    return now.loss >= 0.98 * log(max(2, now.classes)) and now.largest_class > 0.9


def remedy(objective: str, threat: ThreatModel) -> str:
    """The next rung of the ladder when one step was not enough: more noise, then more steps.

    "" where there is none left. Noise helps at small linf budgets only.

    >>> remedy("fgsm-rs", ThreatModel.parse("linf:8/255"))
    'n-fgsm'
    >>> remedy("n-fgsm", ThreatModel.parse("linf:0.3"))
    'pgd-2'
    """
    small = threat.norm_name == "linf" and float(threat.eps) <= 16 / 255
    rungs = ["fgsm-rs", *(["n-fgsm"] if small else []), "pgd-2", "pgd-at"]
    if objective == "n-fgsm":
        return "pgd-2"
    return rungs[rungs.index(objective) + 1] if objective in rungs[:-1] else ""
