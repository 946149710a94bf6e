"""What an attacker wants of a detector, as a classifier of two classes, so that every attack fits.

Class 0 is "the detector still sees what it should", class 1 "the attacker has his way". `sight`
gives a `Classifier` that says which, so that PGD, APGD, Square or any other attack of the catalogue
runs on a detector as it is: the label of every picture is 0. The objectives need no true boxes.

The difference of the two logits is exact, so that "fooled" means what it says; its gradient is that
of a sum over all candidates for a box, as the surest one alone would be a poor guide: once it is
gone the next one takes its place.
"""

from collections.abc import Callable
from math import log

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from robustkit.detector import Detector
from robustkit.errors import UserError
from robustkit.model import Classifier

Objective = Callable[[Tensor, float, int | None], Tensor]
"""From log odds `[B,N,K]`, those of being sure enough, and a label, to a gap `[B]`, > 0 if done."""

SHARP = 4.0
"""How fast the pull on candidates fades below the confidence that counts, per unit of log odds."""
WIDEST = 60.0
"""The largest gap there is, where not one candidate is left."""


def disappear(odds: Tensor, least: float, target: int | None) -> Tensor:
    """Nothing is seen any more (with `target`: nothing of that label).

    The gap is from the surest candidate to `least`. The gradient is that of a sum over those that
    are sure enough, fading below: where it went on, the many that are background would lead it.
    """
    shown = odds if target is None else odds[..., target]
    over = shown.flatten(1) - least
    return _guided(-over.amax(1), -softplus(SHARP * over).sum(1))


def misclassify(odds: Tensor, least: float, target: int | None) -> Tensor:
    """Whatever is seen is seen as `target`, and something is.

    The gap is the target's smallest lead among the candidates that are sure enough of anything; if
    none is, the surest. The gradient is that of their binary cross-entropy. Raises UserError
    without a target.
    """
    if target is None:
        raise UserError("the label that objects shall get", "none", "add --to LABEL")
    wanted = odds[..., target]
    other = odds.index_fill(-1, torch.tensor([target], device=odds.device), -torch.inf).amax(-1)
    top = torch.maximum(wanted, other).detach()
    seen = top >= top.amax(1, keepdim=True).clamp_max(least)
    lead = (wanted - other).masked_fill(~seen, torch.inf).amin(1)
    price = softplus(-wanted) + softplus(other)
    return _guided(lead, -price.masked_fill(~seen, 0).sum(1))


def create(odds: Tensor, _least: float, target: int | None) -> Tensor:
    """As many boxes as possible (with `target`: of that label), the true ones among them.

    The gap is the logarithm of the mean probability, which is never positive: there is no end to
    it, and every step is used.
    """
    shown = odds.amax(-1) if target is None else odds[..., target]
    return shown.sigmoid().mean(1).clamp_min(1e-30).log()


OBJECTIVES: dict[str, Objective] = {
    "disappear": disappear,
    "misclassify": misclassify,
    "create": create,
}


class Sight(nn.Module):
    """A detector as a classifier: logits `[B,2]` for pictures `[B,C,H,W]` in [0, 1]."""

    def __init__(
        self, detector: Detector, objective: Objective, least: float, target: int | None
    ) -> None:
        super().__init__()
        self.network = detector.module
        self.odds = detector.odds
        self.objective, self.least, self.target = objective, least, target

    def forward(self, x: Tensor) -> Tensor:
        """Half the gap to the objective, with either sign."""
        odds = self.odds(x)
        if self.target is not None and not 0 <= self.target < odds.shape[-1]:
            raise UserError(
                f"a label from 0 to {odds.shape[-1] - 1}", str(self.target), "choose one of them"
            )
        gap = self.objective(odds, self.least, self.target)
        return torch.stack((-gap, gap), 1) / 2


def sight(
    detector: Detector,
    objective: str = "disappear",
    *,
    confidence: float = 0.05,
    target: int | None = None,
) -> Classifier:
    """The classifier of two classes that an attack on a detector runs on; see the module.

    A detection counts from `confidence` on, in (0, 1), or from the detector's own threshold if that
    is higher. Raises UserError for an objective that is not known, or lacks its `target`.

    >>> from torchvision.models.detection import ssdlite320_mobilenet_v3_large
    >>> net = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3)
    >>> model = sight(Detector(net), "disappear", confidence=0.5)
    >>> with model.frozen(), torch.no_grad():
    ...     model(torch.zeros(1, 3, 32, 32)).argmax(1)
    tensor([1])
    """
    if objective not in OBJECTIVES:
        names = ", ".join(OBJECTIVES)
        raise UserError(f"an objective: {names}", repr(objective), "choose one of them")
    if not 0 < confidence < 1:
        raise UserError("a confidence between 0 and 1", str(confidence), "write 0.05")
    if objective == "misclassify" and target is None:
        raise UserError("the label that objects shall get", "none", "add --to LABEL")
    sure = max(confidence, detector.threshold)
    least = log(sure / (1 - sure))
    module = Sight(detector, OBJECTIVES[objective], least, target)
    return Classifier(
        module,
        name=f"{detector.name} ({objective})",
        sha256=detector.sha256,
        source=detector.source,
        classes=("seen", objective),
        notes=detector.notes,
        device=detector.device,
    )


def _guided(value: Tensor, guide: Tensor) -> Tensor:
    """The value of one and the gradient of the other, `[B]`."""
    return value.detach().clamp(-WIDEST, WIDEST) + (guide - guide.detach())
