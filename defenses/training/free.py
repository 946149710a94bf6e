"""Perturbations that learn from the same backward as the weights: they cost no pass of their own.

Free adversarial training (Shafahi et al. 2019, arXiv 1904.12843, algorithm 1) keeps one for every
place in the batch, and sees each batch several times; universal adversarial training (Shafahi et
al. 2020, arXiv 1811.11304, algorithm 3) keeps one for all pictures.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from robustkit.defenses.training.assembly import Objective, cross_entropy
from robustkit.defenses.training.inner import Batch
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

Move = Callable[[Tensor, Tensor, Batch, ThreatModel], Tensor]
"""`move(delta, gradient, batch, threat)`: the perturbation for the next step."""

PACE = 0.25


def free(*, smoothing: float = 0.0) -> Objective:
    """Free adversarial training: `Recipe.replays` times the same batch, eps further every time."""

    def move(delta: Tensor, gradient: Tensor, batch: Batch, threat: ThreatModel) -> Tensor:
        ahead = batch.x + delta + threat.norm.steepest(gradient, threat.budget(batch.x), None)
        return threat.project(ahead, batch.x) - batch.x

    return _carrying("free", lambda batch: torch.zeros_like(batch.x), move, smoothing)


def universal_at(*, smoothing: float = 0.0) -> Objective:
    """Training against one perturbation for all pictures, which moves by eps / 4 a step.

    It helps against universal perturbations; against those made for each picture, expect little.
    """

    def move(delta: Tensor, gradient: Tensor, batch: Batch, threat: ThreatModel) -> Tensor:
        eps = threat.budget(delta)
        wide = torch.full_like(delta, threat.bounds[1] - threat.bounds[0])
        pull = gradient.sum(0, keepdim=True)
        ahead = delta + threat.norm.steepest(pull, PACE * eps, None)
        return threat.norm.project(ahead, eps, (-wide, wide))

    return _carrying("universal", lambda batch: torch.zeros_like(batch.x[:1]), move, smoothing)


def _carrying(
    name: str, start: Callable[[Batch], Tensor], move: Move, smoothing: float
) -> Objective:
    """Cross-entropy on perturbed pictures whose perturbation moves once the gradient is there."""

    def objective(model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
        delta = batch.carried.get(name, start(batch))
        x_adv = threat.project(batch.x + delta, batch.x).requires_grad_()

        def learn(gradient: Tensor) -> None:
            batch.carried[name] = move(delta, gradient, batch, threat)

        x_adv.register_hook(learn)
        return cross_entropy(model(x_adv), batch.y, smoothing)

    return objective
