"""The pictures to train on: sentences of the attack library against a model that holds still.

An attack in training looks for a point to learn from, not for a verdict. So its last point counts
and the look that would judge it is left out: k steps cost k forwards and backwards.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from robustkit.attacks.attack import Attack, Problem, pose, unrolled
from robustkit.attacks.masked_pgd import masked_pgd
from robustkit.attacks.parts.climb import ascent
from robustkit.attacks.parts.gradient import look
from robustkit.attacks.pgd import fgsm
from robustkit.attacks.trades import climb_divergence
from robustkit.draws import Draws
from robustkit.goal import Goal
from robustkit.losses import log_odds
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

_NOISE = 1


@dataclass(frozen=True, eq=False)
class Batch:
    """Pictures `x` `[B,C,H,W]`, labels `y` `[B]`, and what keys their randomness.

    `index` `[B]` numbers the samples, `step` the optimiser's steps: the same sample draws other
    numbers at another step, and the same ones when a killed run is resumed. `share` is how much of
    the threats' eps there is so far, in (0, 1]. `carried` is what an objective hands on to itself
    from step to step: the run keeps it, on the disk as well.
    """

    x: Tensor
    y: Tensor
    index: Tensor
    seed: int
    step: int
    share: float = 1.0
    carried: dict[str, Tensor] = field(default_factory=dict)


Craft = Callable[[Classifier, Batch, ThreatModel], Tensor]
"""`craft(model, batch, threat)`: pictures to train on, `[B,C,H,W]`, without a graph."""


@contextmanager
def still(model: Classifier, *, batch_statistics: bool, seed: int = 0) -> Iterator[None]:
    """Frozen weights in evaluation mode; no buffer and no `.grad` is changed inside.

    With `batch_statistics` batch norm sees the batch's own mean and deviation, as one-step training
    and Madry et al. have it, where it is in training mode; what it would have written into its
    buffers is put back.
    """
    kept = [(one, one.clone()) for one in model.module.buffers()] if batch_statistics else []
    norms = [
        one for one in model.module.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)
    ]
    norms = [one for one in norms if one.training and batch_statistics]
    with model.frozen(seed):
        for norm in norms:
            norm.train()
        try:
            yield
        finally:
            with torch.no_grad():
                for one, before in kept:
                    one.copy_(before)


def steep(*, steps: int, length: float) -> Craft:
    """PGD from a random point of the threat model, with steps of `length` times eps.

    Under a patch threat, PGD inside a patch at a random place.
    """

    def craft(model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
        problem = posed(model, batch, batch.x, threat)
        if threat.norm_name == "patch":
            return _last(masked_pgd(steps=steps, position="random"), problem)
        # As `pgd` goes, but nobody asks for the best point of the path: noting it takes a
        # twentieth of a small network's step.
        x = problem.random_start()
        for _ in range(steps):
            gradient = look(problem, x, log_odds).gradient
            x = problem.project(ascent(problem, x, gradient, length * problem.eps).add_(x))
        return x

    return craft


def noisy(*, spread: float) -> Craft:
    """One step of length eps from noise of `spread` times eps, not clipped to eps (N-FGSM).

    de Jorge et al. 2022 (2202.01181), equation 5. Deviation: the pictures stay in their bounds.
    Without any spread it is FGSM.
    """

    def craft(model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
        draws = Draws.keyed(batch.seed, batch.index).at(_NOISE, batch.step)
        start = threat.with_eps(spread * float(threat.eps)).sample(batch.x, draws)
        return _last(fgsm(), posed(model, batch, start, threat))

    return craft


def gaussian_noise(model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
    """Pictures with Gaussian noise of deviation eps, which may leave the bounds; no attack."""
    draws = Draws.keyed(batch.seed, batch.index).at(_NOISE, batch.step)
    return batch.x + float(threat.eps) * draws.normal(batch.x.shape[1:]).to(batch.x)


def divergent(*, steps: int) -> Craft:
    """Ascent on KL(p(x) || p(x_adv)) from x plus noise of deviation 0.001 (Zhang et al. 2019)."""

    def craft(model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
        attack = climb_divergence("trades", {"steps": steps, "step_size": None})
        return _last(attack, posed(model, batch, batch.x, threat))

    return craft


def posed(model: Classifier, batch: Batch, x: Tensor, threat: ThreatModel) -> Problem:
    """The problem of attacking the pictures `x` of a batch, with its randomness."""
    goal = Goal(batch.y)
    return pose(model, x, goal, threat, index=batch.index, seed=batch.seed, restart=batch.step)


def _last(attack: Attack, problem: Problem) -> Tensor:
    return unrolled(replace(attack, finish=None), problem).x.detach()
