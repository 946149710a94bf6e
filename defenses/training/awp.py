"""Adversarial weight perturbation: descend where the weights nearby are worst, not where they are.

Wu et al. 2020, arXiv 2004.05884, equations 8 and 10. Deviations: no proxy network, and batch norm
learns from the moved weights only; until eps has reached its full size the weights stay.
"""

import torch
from torch import Tensor

from robustkit.defenses.training.aside import moved, traceless
from robustkit.defenses.training.assembly import Assembly, Objective
from robustkit.defenses.training.inner import Batch
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

TINY = 1e-12


def awp(inner: Assembly, *, gamma: float = 0.01) -> Objective:
    """The objective `inner` at the weights `gamma` of their own length further up its gradient."""

    def objective(model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
        x_adv = inner.pictures(model, batch, threat)
        if batch.share < 1:
            return inner.loss(model, batch, x_adv)
        loss = inner.loss(traceless(model), batch, x_adv).mean()
        return inner.loss(moved(model, worst_weights(model, loss, gamma)), batch, x_adv)

    return objective


def worst_weights(model: Classifier, loss: Tensor, gamma: float) -> dict[str, Tensor]:
    """Each layer's weights w moved by gamma |w| up the gradient of `loss`; biases and norms stay.

    Gradients of what is computed with them reach the model's own weights unchanged.
    """
    named = {
        name: weight
        for name, weight in model.module.named_parameters()
        if weight.requires_grad and weight.dim() > 1
    }
    gradients = torch.autograd.grad(loss, list(named.values()))
    found = {}
    for (name, weight), gradient in zip(named.items(), gradients, strict=True):
        length = gamma * weight.detach().norm() / gradient.norm().clamp_min(TINY)
        found[name] = weight + length * gradient
    return found
