"""Gradient alignment: how linear the loss is within eps, as a number and as a regulariser.

Andriushchenko & Flammarion 2020, arXiv 2007.02617. Where the gradient points elsewhere a noise
away, one step no longer finds the worst point, and one-step training is about to fail.
"""

import torch
from torch import Tensor
from torch.nn import functional

from robustkit.defenses.training.aside import traceless
from robustkit.defenses.training.assembly import Objective, cross_entropy
from robustkit.defenses.training.inner import Batch, beside, followed, noisy, slope, still
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

STRONGEST = 2.0
"""The largest weight that the authors use, at 16/255; their rule grows tenfold every 8/255."""
_NOISE = 7


def grad_align(*, strength: float | None = None, smoothing: float = 0.0) -> Objective:
    """FGSM without a random start, plus `strength` times one minus the alignment (equation 5).

    As in the authors' code, the gradient at the picture itself is a constant. `strength` is by
    default their rule for the budget, at most 2; 0.2 in norms other than linf.
    """
    craft = noisy(spread=0.0)

    def objective(model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
        with still(model, batch_statistics=True):
            x_adv = craft(followed(model), batch, threat)
        unseen = traceless(model)
        here = _slope(unseen, batch, batch.x, again=False)
        there = _slope(unseen, batch, _beside(batch, threat), again=True)
        weight = rule(threat) if strength is None else strength
        attacked = cross_entropy(model(x_adv), batch.y, smoothing)
        return attacked + weight * (1 - _cosine(here, there))

    return objective


def rule(threat: ThreatModel) -> float:
    """The authors' strength for a budget: 0.2 at linf 8/255, 2 from 16/255 on.

    >>> round(rule(ThreatModel.parse("linf:8/255")), 3)
    0.2
    """
    if threat.norm_name != "linf":
        return 0.2
    levels = 255 * float(threat.eps) / (threat.bounds[1] - threat.bounds[0])
    return float(min(STRONGEST, 0.02 * 10 ** (levels / 8)))


def alignment(model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
    """The cosine `[B]` of the gradients at a picture and at a random point of its threat.

    The model must hold still.
    """
    here, there = (slope(model, batch.y, x) for x in (batch.x, _beside(batch, threat)))
    return _cosine(here, there)


def _slope(model: Classifier, batch: Batch, x: Tensor, *, again: bool) -> Tensor:
    """The gradient of cross-entropy in the pixels at `x`; with `again`, itself with a graph."""
    x = x.detach().requires_grad_()
    loss = cross_entropy(model(x), batch.y).sum()
    (gradient,) = torch.autograd.grad(loss, x, create_graph=again)
    return gradient


def _beside(batch: Batch, threat: ThreatModel) -> Tensor:
    return beside(batch.x, threat, batch.draws(_NOISE))


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    return functional.cosine_similarity(first.flatten(1), second.flatten(1))
