"""Whether a detector is too good to be true: what its robustness would imply elsewhere.

Tramer 2022 (arXiv 2107.11630): from a model that is robust with rejection within eps one
makes a classifier that is as robust within eps / 2, by looking through the whole ball for a picture
that is not turned away. It is too slow to be used, so that it contradicts nothing we know; but
where it would be the best that anybody has, a weak attack is the likelier reason. What is the best
has to be known from elsewhere: only data sets with a public leaderboard are compared.
"""

import re
from typing import NamedTuple

from robustkit.audit.bout import Ring
from robustkit.audit.findings import finding
from robustkit.audit.standing import Clean, Standing
from robustkit.audit.statistics import clopper_pearson
from robustkit.records import Finding
from robustkit.threat import ThreatModel


class Known(NamedTuple):
    """The best robust accuracy that a leaderboard knows within `eps`, and whose it is."""

    data: str
    classes: int
    norm: str
    eps: float
    accuracy: float
    model: str


LEADERBOARD = "RobustBench, as of 2025-03-31"
BEST = (
    Known("cifar10", 10, "linf", 8 / 255, 0.7371, "Bartoldson et al. 2024, WRN-94-16"),
    Known("cifar10", 10, "l2", 0.5, 0.8497, "Wang et al. 2023, WRN-70-16"),
    Known("cifar100", 100, "linf", 8 / 255, 0.4266, "Wang et al. 2023, WRN-70-16"),
    Known("imagenet", 1000, "linf", 4 / 255, 0.5968, "Xu et al. 2024, MIMIR Swin-L"),
)
"""The lowest of all evaluations of a model counts; the highest of those over all models."""


def best_known(data: str, classes: int, threat: ThreatModel) -> Known | None:
    """The best that is known within half the budget of `threat`, None where nothing is.

    Within a larger budget nobody does better than within a smaller one.

    >>> best_known("torchvision:CIFAR10", 10, ThreatModel("linf", 16 / 255)).accuracy
    0.7371
    >>> best_known("torchvision:CIFAR10", 10, ThreatModel("linf", 8 / 255))
    """
    name = "".join(filter(str.isalnum, data.lower()))
    fitting = [
        one
        for one in BEST
        if re.search(rf"{one.data}(?!\d)", name)
        and (one.classes, one.norm) == (classes, threat.norm_name)
        and one.eps <= float(threat.eps) / 2 + 1e-9
    ]
    return min(fitting, key=lambda one: one.accuracy, default=None)


def implausible(ring: Ring, standing: Standing, clean: Clean) -> list[Finding]:
    """Whether the classifier that a detector implies would be better than any that is known.

    Only where the whole interval lies above; nothing is said of a model that always answers.
    """
    if ring.model.abstain is None or ring.model.bounds != (0.0, 1.0):
        return []
    threat = ThreatModel.parse(standing.threat, ring.model.bounds)
    best = best_known(ring.samples.name, clean.classes, threat)
    robust = int(standing.robust(clean.right(ring.samples.y))[standing.counted()].sum())
    low, _ = clopper_pearson(robust, standing.reached)
    if best is None or low <= best.accuracy:
        return []
    message = (
        f"At least {low:.1%} of {standing.reached} pictures are right or turned away within "
        f"{standing.threat}; that implies a classifier as robust within half of it, where the best "
        f"known ({LEADERBOARD}: {best.model}, within {best.eps:.3g}) has {best.accuracy:.1%}."
    )
    return [
        finding("RK-IMPLAUSIBLE", message, threat=standing.threat, implied=low, known=best.accuracy)
    ]
