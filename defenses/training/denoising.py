"""What a denoiser can be taught, beside standing an attack on the whole, which is what holds.

These three teach it pictures made without it in mind. Against who knows of it they leave next to
nothing: on MNIST at linf 0.2, where a frozen classifier keeps 0.5 %, denoisers trained on pixels or
on logits keep 95 % against attacks on the classifier and 39 % and 27 % against attacks on both. For
the one that keeps 87 %, train the pair by `pgd-at`.
"""

import torch
from torch import Tensor

from robustkit.defenses.denoise.guarded import Guarded
from robustkit.defenses.training.assembly import Assembly, cross_entropy
from robustkit.defenses.training.inner import Batch, gaussian_noise, noisy, steep, still
from robustkit.errors import UserError
from robustkit.model import Classifier
from robustkit.threat import ThreatModel


def pixel() -> Assembly:
    """The mean distance of pixels to the clean picture's (Liao et al. 2018, 1712.02976, PGD)."""

    def loss(model: Classifier, batch: Batch, x_adv: Tensor) -> Tensor:
        cleaned: Tensor = _pair(model).denoiser(x_adv)
        return (cleaned - batch.x).abs().flatten(1).mean(1)

    return Assembly(_unaware, loss)


def hgd() -> Assembly:
    """The distance of logits to the clean picture's: guided by the net (Liao et al. 2018, LGD)."""

    def loss(model: Classifier, batch: Batch, x_adv: Tensor) -> Tensor:
        return (model(x_adv) - _clean_logits(model, batch)).abs().sum(1)

    return Assembly(_unaware, loss)


def stability() -> Assembly:
    """Under Gaussian noise of deviation eps, the class that the net gives without any.

    Salman et al. 2020 (2003.01908), denoised smoothing: what a denoiser needs before the vote of a
    frozen model is certified under noise.
    """

    def loss(model: Classifier, batch: Batch, x_adv: Tensor) -> Tensor:
        return cross_entropy(model(x_adv), _clean_logits(model, batch).argmax(1))

    return Assembly(gaussian_noise, loss)


def _unaware(model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
    """Attacks on the net alone: five steps of PGD on every other sample, FGSM on the rest."""
    net = _pair(model).undefended(model)
    with still(net, batch_statistics=False):
        several = steep(steps=5, length=0.5)(net, batch, threat)
        one = noisy(spread=0.0)(net, batch, threat)
    even = (batch.index % 2 == 0).view(-1, 1, 1, 1)
    return torch.where(even, several, one)


def _clean_logits(model: Classifier, batch: Batch) -> Tensor:
    with torch.no_grad():
        return _pair(model).undefended(model)(batch.x)


def _pair(model: Classifier) -> Guarded:
    if isinstance(model.module, Guarded):
        return model.module
    raise UserError(
        "a denoiser to be trained, in front of the model", "a model alone", "add --denoiser unet"
    )
