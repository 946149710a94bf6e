"""Training against several threats at once: the worst, all, their steps mixed, or one a batch.

Tramer & Boneh 2019 (arXiv 1904.13000): max and average. Maini et al. 2020 (arXiv 1909.04068): MSD.
Croce & Hein 2022 (arXiv 2105.12508): E-AT. The first threat is the run's own; `others` grow with
it. Without any others, each of these is PGD-AT.
"""

from functools import partial

import torch
from torch import Tensor

from robustkit.attacks.attack import pick
from robustkit.attacks.parts.climb import ascent
from robustkit.attacks.parts.gradient import glance, look
from robustkit.defenses.training.assembly import Assembly, Objective, cross_entropy, hard
from robustkit.defenses.training.inner import Batch, followed, posed, steep, still
from robustkit.losses import log_odds
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

Threats = tuple[ThreatModel, ...]
LENGTH = 0.25
"""A step of the inner attacks, in eps."""
PACE = 0.1
"""How fast the running errors of E-AT forget."""
_TURN = 5


def max_at(*, others: Threats = (), steps: int = 10, smoothing: float = 0.0) -> Assembly:
    """Cross-entropy on the pictures of the threat that hurts each sample most."""
    attack = steep(steps=steps, length=LENGTH)

    def craft(model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
        found = [attack(model, batch, one) for one in _now(threat, others, batch)]
        return _worst(found, model, batch, threat)

    return Assembly(craft, hard(smoothing))


def avg_at(*, others: Threats = (), steps: int = 10, smoothing: float = 0.0) -> Assembly:
    """The mean of the cross-entropies under all threats."""
    attack = steep(steps=steps, length=LENGTH)

    def craft(model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
        return torch.cat([attack(model, batch, one) for one in _now(threat, others, batch)])

    def loss(model: Classifier, batch: Batch, x_adv: Tensor) -> Tensor:
        count = len(x_adv) // len(batch.y)
        value = cross_entropy(model(x_adv), batch.y.repeat(count), smoothing)
        return value.reshape(count, -1).mean(0)

    return Assembly(craft, loss)


def msd(*, others: Threats = (), steps: int = 10, smoothing: float = 0.0) -> Assembly:
    """Cross-entropy on pictures that take, every step, the worst of the threats' own steps."""

    def craft(model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
        threats = _now(threat, others, batch)
        problems = [posed(model, batch, batch.x, one) for one in threats]
        x = batch.x
        for _ in range(steps):
            gradient = look(problems[0], x, log_odds).gradient
            ahead = [
                one.project(x + ascent(one, x, gradient, LENGTH * one.eps)) for one in problems
            ]
            x = _worst(ahead, model, batch, threat)
        return x

    return Assembly(craft, hard(smoothing))


def e_at(*, others: Threats = (), steps: int = 10, smoothing: float = 0.0) -> Objective:
    """One threat a batch, drawn by how often it has fooled the model of late.

    Of linf, l2 and l1 the outer two are drawn: who withstands both withstands what lies between.
    """
    attack = steep(steps=steps, length=LENGTH)

    def objective(model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
        threats = _outer(_now(threat, others, batch))
        errors = batch.carried.get("errors", torch.ones(len(threats), device=batch.x.device))
        drawn = batch.draws(_TURN).uniform(())[0].to(errors) * errors.sum()
        which = min(int((errors.cumsum(0) <= drawn).sum()), len(threats) - 1)
        with still(model, batch_statistics=True):
            x_adv = attack(followed(model), batch, threats[which])
        logits = model(x_adv)
        wrong = (logits.detach().argmax(1) != batch.y).float().mean()
        here = torch.arange(len(threats), device=errors.device) == which
        batch.carried["errors"] = torch.where(here, errors.lerp(wrong, PACE), errors)
        return cross_entropy(logits, batch.y, smoothing)

    return objective


def _now(threat: ThreatModel, others: Threats, batch: Batch) -> Threats:
    """All threats, as large as they are at this step."""
    return threat, *(one.with_eps(batch.share * float(one.eps)) for one in others)


def _outer(threats: Threats) -> Threats:
    """The threats without l2, where both linf and l1 are there."""
    names = {one.norm_name for one in threats}
    between = "l2" if names >= {"linf", "l1"} else None
    return tuple(one for one in threats if one.norm_name != between)


def _worst(found: list[Tensor], model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
    """Of each sample the pictures with the largest loss."""
    worst = found[0]
    if len(found) == 1:
        return worst
    see = partial(glance, posed(model, batch, batch.x, threat), loss=log_odds)
    with torch.no_grad():
        highest = see(worst)[1]
        for x in found[1:]:
            value = see(x)[1]
            worst = pick(value > highest, x, worst)
            highest = torch.maximum(highest, value)
    return worst
