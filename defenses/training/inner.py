"""The pictures to train on: sentences of the attack library against a model that holds still.

An attack in training looks for a point to learn from, not for a verdict. So its last point counts
and the look that would judge it is left out: k steps cost k forwards and backwards.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from robustkit.attacks.attack import Attack, Problem, unrolled
from robustkit.attacks.masked_pgd import masked_pgd
from robustkit.attacks.parts.climb import ascent
from robustkit.attacks.parts.gradient import look
from robustkit.attacks.trades import climb_divergence
from robustkit.defenses.training.stream import Stream
from robustkit.goal import Goal
from robustkit.losses import log_odds
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

_NOISE = 1


@dataclass(frozen=True, eq=False)
class Batch:
    """Pictures `x` `[B,C,H,W]`, labels `y` `[B]`, and what keys their randomness.

    `index` `[B]` numbers the samples, `step` the optimiser's steps: another step draws other
    numbers, and the same one the same when a killed run is resumed. `share` is how much of
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

    def draws(self, *purpose: int) -> Stream:
        """The random numbers of this step for a purpose."""
        return Stream(self.index, self.seed, self.step, *purpose)


Craft = Callable[[Classifier, Batch, ThreatModel], Tensor]
"""`craft(model, batch, threat)`: pictures to train on, `[B,C,H,W]`, without a graph."""


@contextmanager
def still(model: Classifier, *, batch_statistics: bool) -> Iterator[None]:
    """Frozen weights in evaluation mode; no buffer and no `.grad` is changed inside.

    With `batch_statistics` batch norm sees the batch's own mean and deviation, as one-step training
    and Madry et al. have it, where it is in training mode; its buffers then follow nothing.
    """
    modules = [(one, one.training) for one in model.module.modules()]
    weights = [one for one in model.module.parameters() if one.requires_grad]
    norms = [
        one
        for one, training in modules
        if batch_statistics and training and isinstance(one, nn.modules.batchnorm._BatchNorm)
    ]
    following = [one.track_running_stats for one in norms]
    try:
        model.module.eval()
        for weight in weights:
            weight.requires_grad_(False)
        for norm in norms:
            norm.training, norm.track_running_stats = True, False
        yield
    finally:
        for norm, before in zip(norms, following, strict=True):
            norm.track_running_stats = before
        for one, training in modules:
            one.training = training
        for weight in weights:
            weight.requires_grad_(True)


def steep(*, steps: int, length: float) -> Craft:
    """PGD from a random point of the threat model, with steps of `length` times eps.

    Under a patch threat, PGD inside a patch at a random place.
    """

    def craft(model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
        problem = posed(model, batch, batch.x, threat)
        if threat.norm_name == "patch":
            return _last(masked_pgd(steps=steps, position="random"), problem)
        return _climbed(problem, problem.random_start(), steps=steps, length=length)

    return craft


def noisy(*, spread: float) -> Craft:
    """One step of length eps from noise of `spread` times eps, not clipped to eps (N-FGSM).

    de Jorge et al. 2022 (2202.01181), equation 5. Deviation: the pictures stay in their bounds.
    Without any spread it is FGSM.
    """

    def craft(model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
        start = batch.x
        if spread:
            start = threat.with_eps(spread * float(threat.eps)).sample(start, batch.draws(_NOISE))
        return _climbed(posed(model, batch, start, threat), start, steps=1, length=1.0)

    return craft


def gaussian_noise(model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
    """Pictures with Gaussian noise of deviation eps, which may leave the bounds; no attack."""
    noise = batch.draws(_NOISE).normal(batch.x.shape[1:])
    return batch.x + float(threat.eps) * noise.to(batch.x)


def divergent(*, steps: int) -> Craft:
    """Ascent on KL(p(x) || p(x_adv)) from x plus noise of deviation 0.001 (Zhang et al. 2019)."""

    def craft(model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
        attack = climb_divergence("trades", {"steps": steps, "step_size": None})
        return _last(attack, posed(model, batch, batch.x, threat))

    return craft


def posed(model: Classifier, batch: Batch, x: Tensor, threat: ThreatModel) -> Problem:
    """The problem of attacking the pictures `x` of a batch, with its randomness."""
    eps, draws = threat.budget(x), Stream(batch.index, batch.seed)
    problem = Problem(model, x, Goal(batch.y), threat, draws, eps, x, x, restart=batch.step)
    if threat.norm_name != "linf" or threat.mask is not None:
        return problem.with_eps(eps)
    # The same box in a fourth of the passes over the pictures.
    radius, (low, high) = float(threat.eps), threat.bounds
    return problem._replace(low=(x - radius).clamp_min_(low), high=(x + radius).clamp_max_(high))


def _climbed(problem: Problem, x: Tensor, *, steps: int, length: float) -> Tensor:
    """The point at the end of so many steps of `length` eps from `x`, by the log odds.

    As `pgd` goes, but nobody asks for the best point of the path: noting it takes a twentieth of a
    small network's step.
    """
    for _ in range(steps):
        gradient = look(problem, x, log_odds).gradient
        x = problem.project(ascent(problem, x, gradient, length * problem.eps).add_(x))
    return x


def _last(attack: Attack, problem: Problem) -> Tensor:
    return unrolled(replace(attack, finish=None), problem).x.detach()
