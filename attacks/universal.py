"""One perturbation for all pictures.

Moosavi-Dezfooli et al. 2017, arXiv 1610.08401, in the stochastic gradient form of Shafahi et al.
2020, arXiv 1811.11304 (algorithm 2), which needs one look at each picture an epoch instead of one
walk to the boundary. As its batches share what they learn it is a function, no row of the
catalogue: an attack of the catalogue never looks across its batch. Deviations: the loss is the
margin, clipped where a picture is fooled by `ENOUGH` already (the paper clips cross-entropy); every
norm has its own steepest step; the best epoch counts, not the last.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.goal import Goal
from robustkit.losses import margin
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

# A picture that is fooled by this margin pulls no more.
ENOUGH = 1.0


class Universal(NamedTuple):
    """The shared perturbation `delta` `[1,C,H,W]`, and whom it fools, `[N]`."""

    delta: Tensor
    fooled: Tensor

    def apply(self, x: Tensor, threat: ThreatModel) -> Tensor:
        """The perturbed pictures, clipped to bounds and mask: each inside its threat model."""
        low, high = threat.box(x)
        return (x + self.delta.to(x).clamp(low, high)).clamp(*threat.bounds)


def universal_perturbation(
    model: Classifier,
    x: Tensor,
    goal: Goal,
    threat: ThreatModel,
    *,
    steps: int = 10,
    batch_size: int = 64,
    seed: int = 0,
) -> Universal:
    """A perturbation within `threat` that fools as many of `x` `[N,C,H,W]` as possible.

    `steps` is the number of epochs; a batch moves the perturbation by eps / 4, less and less. The
    model must be frozen, and `threat` have one budget for all. `x` and `goal` are on the model's
    device.

    >>> from torch import nn
    >>> model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
    >>> x = torch.rand(8, 1, 2, 2)
    >>> goal = Goal(torch.zeros(8, dtype=torch.int64))
    >>> found = universal_perturbation(model, x, goal, ThreatModel("linf", 0.1), batch_size=4)
    >>> found.delta.shape, float(found.delta.abs().max()) <= 0.1 + 1e-6
    (torch.Size([1, 1, 2, 2]), True)
    """
    eps = threat.budget(x)[:1]
    wide = torch.full_like(x[:1], threat.bounds[1] - threat.bounds[0])
    generator = torch.Generator().manual_seed(seed)
    found = Universal(torch.zeros_like(x[:1]), torch.zeros_like(goal.y, dtype=torch.bool))
    best = _judged(model, x, goal, threat, found, batch_size)
    for epoch in range(steps):
        order = torch.randperm(len(x), generator=generator).to(x.device)
        for rows in order.split(batch_size):
            gradient = _pull(model, x[rows], goal.take(rows), threat.take(rows), found)
            length = eps / (4 * (epoch + 1))
            ahead = found.delta + threat.norm.steepest(gradient, length, None)
            found = found._replace(delta=threat.norm.project(ahead, eps, (-wide, wide)))
        found = _judged(model, x, goal, threat, found, batch_size)
        if found.fooled.sum() > best.fooled.sum():
            best = found
    return best


def _pull(
    model: Classifier, x: Tensor, goal: Goal, threat: ThreatModel, found: Universal
) -> Tensor:
    """The gradient of the summed loss with respect to the perturbation, `[1,C,H,W]`."""
    with torch.enable_grad():
        x_adv = found.apply(x, threat).detach().requires_grad_()
        loss = margin(model(x_adv), goal).clamp_max(ENOUGH)
        return model.gradient(loss, x_adv).sum(0, keepdim=True)


def _judged(
    model: Classifier, x: Tensor, goal: Goal, threat: ThreatModel, found: Universal, batch_size: int
) -> Universal:
    """The same perturbation with whom it fools."""
    batches = torch.arange(len(x), device=x.device).split(batch_size)
    with torch.no_grad():
        fooled = [
            goal.take(rows).reached(model(found.apply(x[rows], threat.take(rows))))
            for rows in batches
        ]
    return found._replace(fooled=torch.cat(fooled))
