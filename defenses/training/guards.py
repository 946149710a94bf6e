"""What goes wrong in adversarial training, and how it is noticed while there is time.

Catastrophic overfitting: the model learns to withstand one step and loses everything to several.
Collapse: it answers the same whatever it sees. Robust overfitting: it knows its training pictures.
Overfitting to the attack: it withstands the loss that it was attacked with, and others less. No
progress: what one-step training shows it is more than can be learned.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite, log
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from robustkit.attacks.attack import Attack, pose, unrolled
from robustkit.attacks.masked_pgd import masked_pgd
from robustkit.attacks.pgd import fgsm, pgd
from robustkit.defenses.training.alignment import alignment
from robustkit.defenses.training.inner import PLACES, Batch, followed
from robustkit.defenses.training.objectives import ONE_STEP
from robustkit.defenses.training.recipe import is_small
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.records import Record
from robustkit.threat import ThreatModel

Alarm = Literal["", "catastrophic overfitting", "collapse", "no progress"]

GAP = 0.25
DROP = 0.15
MEMORISED = 0.15
"""From this gap of robust accuracy between training and validation on, a run warns."""
ATTACK_GAP = 0.03
"""From this gap between accuracy under cross-entropy and under the margin on, a run warns."""
STUCK = 0.95
"""The share of the loss of a guess above which nothing is being learned."""
ALIGNED = 0.3
"""Below this alignment of gradients, one step no longer finds what several steps find."""
SMALL_LADDER = ("fgsm-rs", "n-fgsm", "pgd-2", "grad-align", "pgd-at")
LARGE_LADDER = ("fgsm-rs", "pgd-2", "pgd-at")
SLOW = 2
"""Epochs in which a model may still be guessing: from scratch, it first has to find a start."""
PIECE = 256
STEPS = 10


class Probe(Record):
    """What a few fixed training pictures say at one step; accuracies are fractions of them.

    `one_step` is the accuracy under FGSM, `multi_step` under PGD-10, `margin` under PGD-10 on the
    margin, all at the eps of the training at that moment. `alignment` is the mean cosine between
    gradients at a picture and at a random point of its threat. `largest_class` is the share of the
    commonest answer.
    """

    step: int
    eps: float
    one_step: float
    multi_step: float
    margin: float
    alignment: float
    largest_class: float
    loss: float
    classes: int


class Scores(Record):
    """Clean and robust accuracy on pictures held out of training: fractions of `samples`."""

    clean: float
    robust: float
    samples: int


def probe(model: Classifier, batch: Batch, threat: ThreatModel) -> Probe:
    """Look at the model in evaluation mode and float32; nothing of it is changed."""
    with _exact(model), torch.no_grad():
        logits = torch.cat([model(x) for x in batch.x.split(PIECE)])
        loss = float(functional.cross_entropy(logits, batch.y))
        largest = int(logits.argmax(1).bincount().max()) / len(logits)
        aligned = float(alignment(followed(model), batch, threat).mean())
    return Probe(
        step=batch.step,
        eps=float(threat.eps),
        one_step=accuracy(model, batch, threat, fgsm()),
        multi_step=accuracy(model, batch, threat, several(threat, STEPS)),
        margin=accuracy(model, batch, threat, several(threat, STEPS, "margin")),
        alignment=aligned,
        largest_class=largest,
        loss=loss,
        classes=logits.shape[1],
    )


def several(threat: ThreatModel, steps: int, loss: str = "log-odds") -> Attack:
    """PGD for a threat: inside a patch at the worst of a few places where that is the threat."""
    if threat.norm_name == "patch":
        return masked_pgd(steps=steps, grid=PLACES, loss=loss)
    return pgd(steps=steps, loss=loss)


def strict(threat: ThreatModel) -> Attack:
    """What validation attacks with: 20 steps on the margin, and a patch at far more places."""
    if threat.norm_name == "patch":
        return masked_pgd(steps=20, restarts=3, loss="margin")
    return several(threat, 20, "margin")


def validate(model: Classifier, batch: Batch, threats: tuple[ThreatModel, ...]) -> Scores:
    """Clean accuracy, and that under 20 steps of PGD on the margin, as `probe` looks.

    Robust is who withstands all of the `threats`.
    """
    with _exact(model), torch.no_grad():
        right = torch.cat([model(x).argmax(1) for x in batch.x.split(PIECE)]) == batch.y
    held = right
    for threat in threats:
        held = held & withstood(model, batch, threat, strict(threat))
    count = len(right)
    return Scores(clean=int(right.sum()) / count, robust=int(held.sum()) / count, samples=count)


def accuracy(model: Classifier, batch: Batch, threat: ThreatModel, attack: Attack) -> float:
    """The share that an attack does not fool."""
    held = withstood(model, batch, threat, attack)
    return int(held.sum()) / len(held)


def withstood(model: Classifier, batch: Batch, threat: ThreatModel, attack: Attack) -> Tensor:
    """Whom an attack does not fool, `[B]`."""
    robust = []
    with _exact(model):
        for rows in torch.arange(len(batch.y), device=batch.x.device).split(PIECE):
            index, goal = batch.index[rows], Goal(batch.y[rows])
            problem = pose(
                followed(model), batch.x[rows], goal, threat, index=index, seed=batch.seed
            )
            starts = (problem._replace(restart=number) for number in range(attack.restarts))
            robust.append(~torch.stack([unrolled(attack, one).fooled for one in starts]).any(0))
    return torch.cat(robust)


@contextmanager
def _exact(model: Classifier) -> Iterator[None]:
    """The model held still, in float32 whatever the caller computes in."""
    with model.frozen(), torch.autocast(model.device.type, enabled=False):
        yield


def alarm(
    now: Probe,
    *,
    best: float,
    warm: bool,
    epochs: float,
    one_step: bool = False,
    loss: float = 0.0,
) -> Alarm:
    """What a probe gives away; `best` is the highest multi-step accuracy of earlier probes.

    At full eps (`warm`), FGSM 25 points above PGD is enough; while eps still grows, robustness
    falls by itself, so PGD must also have lost 15 points. In `one_step` training at full eps,
    gradients that no longer align are enough where PGD has lost anything. A model that answers one
    class to more than 90 % with a loss within 2 % of guessing has collapsed, two `epochs` into the
    run; one whose loss is not finite has at any time. One-step training whose own `loss` at full
    eps is still within 5 % of guessing makes no progress.
    """
    if not isfinite(now.loss) or (guessing(now) and epochs >= SLOW):
        return "collapse"
    gap = now.one_step - now.multi_step > GAP
    bent = one_step and warm and now.alignment < ALIGNED and now.multi_step < best
    if bent or (gap and (warm or now.multi_step < best - DROP)):
        return "catastrophic overfitting"
    stuck = one_step and warm and loss >= STUCK * log(max(2, now.classes))
    return "no progress" if stuck else ""


def guessing(now: Probe) -> bool:
    """Whether the model gives one answer to nearly everything, and knows no more than chance."""
    return now.loss >= 0.98 * log(max(2, now.classes)) and now.largest_class > 0.9


def remedy(objective: str, threat: ThreatModel) -> str:
    """The next rung of the ladder when one step was not enough, the cheapest first.

    More noise and aligned gradients help at small linf budgets only. "" where there is none left.

    >>> remedy("fgsm-rs", ThreatModel.parse("linf:8/255"))
    'n-fgsm'
    >>> remedy("n-fgsm", ThreatModel.parse("linf:0.3"))
    'pgd-2'
    """
    rungs = SMALL_LADDER if is_small(threat) else LARGE_LADDER
    if objective in ("n-fgsm", "free"):
        return "pgd-2"
    return rungs[rungs.index(objective) + 1] if objective in rungs[:-1] else ""


def firmer(objective: str) -> str:
    """What to start again with after a collapse: more steps, if few were taken.

    >>> firmer("fgsm-rs"), firmer("trades")
    ('pgd-2', 'trades')
    """
    if objective == "pgd-2":
        return "pgd-at"
    return "pgd-2" if objective in ONE_STEP else objective
