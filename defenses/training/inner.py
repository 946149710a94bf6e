"""The pictures to train on: sentences of the attack library against a model that holds still.

An attack in training looks for a point to learn from, not for a verdict. So its last point counts
and the look that would judge it is left out: k steps cost k forwards and backwards.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from robustkit.attacks.attack import Attack, Problem, unrolled
from robustkit.attacks.masked_pgd import masked_pgd
from robustkit.attacks.parts.climb import ascent
from robustkit.attacks.trades import climb_divergence
from robustkit.defenses.training.stream import Stream
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

_START, _NOISE = 0, 1
PLACES = 3
"""A patch is tried at so many places by so many, and where the linearised loss gains most."""
SURROGATE_STAGES = "bpda-surrogate"
"""The view of a pipeline whose broken gradients are stood in for."""


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


def followed(model: Classifier) -> Classifier:
    """What an attack in training looks at: stages that have none, with their surrogate's gradient.

    The answers are those of the model itself.
    """
    return model.views.get(SURROGATE_STAGES, model)


def steep(*, steps: int, length: float) -> Craft:
    """PGD from a random point of the threat model, with steps of `length` times eps.

    Under a patch threat, PGD inside a patch at the worst of a few places, as Rao et al. 2020
    (2005.02313) have it: who trains at random places is found at the worst one.
    """

    def craft(model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
        if threat.norm_name == "patch":
            attack = masked_pgd(steps=steps, grid=PLACES)
            return _last(attack, posed(model, batch, batch.x, threat))
        start = beside(batch.x, threat, batch.draws(_START))
        return _climbed(model, batch, threat, start=start, steps=steps, length=length)

    return craft


def noisy(*, spread: float) -> Craft:
    """One step of length eps from noise of `spread` times eps, not clipped to eps (N-FGSM).

    de Jorge et al. 2022 (2202.01181), equation 5. Deviation: the pictures stay in their bounds.
    Without any spread it is FGSM.
    """

    def craft(model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
        x = batch.x
        if spread:
            wide = threat.with_eps(spread * float(threat.eps))
            x = beside(x, wide, batch.draws(_NOISE))
        around = replace(batch, x=x)
        return _climbed(model, around, threat, start=x, steps=1, length=1.0)

    return craft


def beside(x: Tensor, threat: ThreatModel, stream: Stream) -> Tensor:
    """A random point of the threat model around each picture."""
    if threat.norm_name != "linf":
        return threat.sample(x, stream)
    levels = stream.levels(x.shape[1:])
    return levels.to(x).mul_(float(threat.eps) / 2**15).add_(x).clamp_(*threat.bounds)


def _climbed(
    model: Classifier, batch: Batch, threat: ThreatModel, *, start: Tensor, steps: int,
    length: float,
) -> Tensor:  # fmt: skip
    """The point at the end of so many steps of `length` eps from `start`, around the batch's.

    It is where `pgd` ends, but nothing is noted on the way. Under linf, the threat of nearly all
    training, it takes as few passes over the pictures as can be, each in place: they, and not their
    arithmetic, are what a small network's step pays beside its own forwards and backwards.
    """
    x_adv, eps = start, float(threat.eps)
    if threat.norm_name != "linf":
        problem = posed(model, batch, batch.x, threat)
        for _ in range(steps):
            way = ascent(problem, x_adv, slope(model, batch.y, x_adv), length * problem.eps)
            x_adv = problem.project(way.add_(x_adv))
        return x_adv
    for _ in range(steps):
        way = slope(model, batch.y, x_adv).sign_()
        x_adv = torch.add(x_adv, way, alpha=length * eps, out=way)
        x_adv.sub_(batch.x).clamp_(-eps, eps).add_(batch.x).clamp_(*threat.bounds)
    return x_adv


def slope(model: Classifier, y: Tensor, x: Tensor) -> Tensor:
    """The gradient of the log odds in the pixels, `[B,C,H,W]`.

    In the logits it is known: minus one at the label, and what is believed of the other classes.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = model(x)
        others = logits.detach().scatter(1, y[:, None], -torch.inf).softmax(1)
        return model.gradient(logits * others.scatter_(1, y[:, None], -1.0), x)


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
    eps = threat.budget(x)
    return Problem(model, x, Goal(batch.y), threat, batch.draws(), eps, x, x).with_eps(eps)


def _last(attack: Attack, problem: Problem) -> Tensor:
    return unrolled(replace(attack, finish=None), problem).x.detach()
