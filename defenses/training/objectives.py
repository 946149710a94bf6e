"""What adversarial training minimises: `objective(model, batch, threat) -> [B]`, one row each.

An objective crafts its own pictures, with frozen weights, and returns the loss of each sample in
the mode that the module is in. To add one: write a function that returns an `Objective`, add a row.
"""

from collections.abc import Callable
from functools import cache, partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from robustkit.defenses.training.alignment import grad_align
from robustkit.defenses.training.assembly import Assembly, Objective, cross_entropy, hard
from robustkit.defenses.training.awp import awp
from robustkit.defenses.training.bounded import ibp
from robustkit.defenses.training.denoising import hgd, pixel, stability
from robustkit.defenses.training.free import free, universal_at
from robustkit.defenses.training.inner import (
    Batch,
    divergent,
    gaussian_noise,
    noisy,
    steep,
)
from robustkit.defenses.training.masking import two_masks
from robustkit.defenses.training.several import avg_at, e_at, max_at, msd
from robustkit.errors import UserError
from robustkit.losses import kl
from robustkit.model import Classifier

__all__ = ["OBJECTIVES", "Objective", "objective"]


def pgd_at(*, steps: int = 10, length: float = 0.25, smoothing: float = 0.0) -> Assembly:
    """Cross-entropy on PGD's pictures (Madry et al. 2018, 1706.06083), steps of `length` eps.

    `smoothing` is the label smoothing, here and in every objective with cross-entropy.
    """
    return Assembly(steep(steps=steps, length=length), hard(smoothing))


def fgsm_rs(*, length: float = 1.25, smoothing: float = 0.0) -> Assembly:
    """One long step from a random start (Wong et al. 2020, 2001.03994): fast, and it can fail.

    Its failure, catastrophic overfitting, is what `guards` look for.
    """
    return Assembly(steep(steps=1, length=length), hard(smoothing))


def n_fgsm(*, spread: float = 2.0, smoothing: float = 0.0) -> Assembly:
    """One step from strong noise, not clipped to eps (de Jorge et al. 2022, 2202.01181)."""
    return Assembly(noisy(spread=spread), hard(smoothing))


def trades(*, steps: int = 10, beta: float = 6.0, smoothing: float = 0.0) -> Assembly:
    """Clean cross-entropy plus beta times the divergence under attack (Zhang et al. 2019).

    arXiv 1901.08573. The attack sees running statistics, as the authors' code has it.
    """

    def loss(model: Classifier, batch: Batch, x_adv: Tensor) -> Tensor:
        logits, attacked = _both(model, batch.x, x_adv)
        natural = cross_entropy(logits, batch.y, smoothing)
        return natural + beta * kl(logits.softmax(1), attacked)

    return Assembly(divergent(steps=steps), loss, batch_statistics=False)


def mart(*, steps: int = 10, beta: float = 5.0) -> Assembly:
    """Boosted cross-entropy, and more weight on what is misclassified (Wang et al. 2020, ICLR).

    It learns the attack that it trains on: expect less under AutoAttack than under PGD. Its own
    loss stands where label smoothing would be.
    """

    def loss(model: Classifier, batch: Batch, x_adv: Tensor) -> Tensor:
        logits, attacked = _both(model, batch.x, x_adv)
        share, label = attacked.softmax(1), batch.y[:, None]
        rival = share.scatter(1, label, 0.0).amax(1)
        boosted = cross_entropy(attacked, batch.y) - torch.log(1.0001 - rival)
        belief = logits.softmax(1)
        unsure = 1 - belief.gather(1, label).squeeze(1)
        return boosted + beta * kl(belief, attacked) * unsure

    return Assembly(steep(steps=steps, length=0.25), loss, batch_statistics=False)


def distilled(
    *,
    teacher: Classifier | None = None,
    weight: float = 1.0,
    steps: int = 10,
    smoothing: float = 0.0,
) -> Assembly:
    """PGD-AT, plus `weight` times the divergence from what `teacher` says of the clean pictures.

    With the model as it came for a teacher, fine-tuning forgets less of what it knew. Raises
    UserError without one.
    """
    if teacher is None:
        raise UserError("a teacher for the objective distill", "none", "pass the model as it came")
    known = teacher

    def loss(model: Classifier, batch: Batch, x_adv: Tensor) -> Tensor:
        with torch.no_grad():
            belief = known(batch.x).softmax(1)
        logits, attacked = _both(model, batch.x, x_adv)
        return cross_entropy(attacked, batch.y, smoothing) + weight * kl(belief, logits)

    return Assembly(steep(steps=steps, length=0.25), loss)


def gaussian(*, smoothing: float = 0.0) -> Assembly:
    """Cross-entropy under Gaussian noise of deviation eps (Cohen et al. 2019, 1902.02918).

    What a model needs before `robustkit certify`: train it for l2:0.5 to certify at sigma 0.5.
    """
    return Assembly(gaussian_noise, hard(smoothing))


def patch_at(*, steps: int = 10, smoothing: float = 0.0) -> Assembly:
    """PGD-AT inside a patch at the worst of a few places of each picture (Rao et al. 2020).

    arXiv 2005.02313. For threats that are patches.
    """
    return pgd_at(steps=steps, smoothing=smoothing)


def masked(*, masks: int = 6, fill: float = 0.0, smoothing: float = 0.0) -> Assembly:
    """Cross-entropy behind two masks (Xiang et al. 2022, 2108.09135), for threats that are patches.

    What a model needs before `robustkit certify --method patch-cleanser`; no attack is made.
    """
    return Assembly(two_masks(masks=masks, fill=fill), hard(smoothing))


def pgd_awp(*, gamma: float = 0.01, smoothing: float = 0.0) -> Objective:
    """PGD-AT under adversarial weight perturbation (Wu et al. 2020, 2004.05884)."""
    return awp(pgd_at(smoothing=smoothing), gamma=gamma)


def trades_awp(*, gamma: float = 0.005, smoothing: float = 0.0) -> Objective:
    """TRADES under adversarial weight perturbation (Wu et al. 2020, 2004.05884)."""
    return awp(trades(smoothing=smoothing), gamma=gamma)


UNATTACKED = ("gaussian", "masked", "denoise-pixel", "denoise-hgd", "denoise-stability")
"""The objectives whose pictures are made for something else than to fool what is trained."""

VOTES = ("gaussian", "masked", "denoise-stability")
"""Those that prepare a model for a vote: an attack on the model alone says little of the vote."""

OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "pgd-at": pgd_at,
    "pgd-2": partial(pgd_at, steps=2, length=0.5),
    "fgsm-rs": fgsm_rs,
    "n-fgsm": n_fgsm,
    "free": free,
    "grad-align": grad_align,
    "trades": trades,
    "mart": mart,
    "awp": pgd_awp,
    "trades-awp": trades_awp,
    "distill": distilled,
    "max-at": max_at,
    "avg-at": avg_at,
    "msd": msd,
    "e-at": e_at,
    "patch-at": patch_at,
    "universal-at": universal_at,
    "gaussian": gaussian,
    "ibp": ibp,
    "masked": masked,
    "denoise-pixel": pixel,
    "denoise-hgd": hgd,
    "denoise-stability": stability,
}

ONE_STEP = ("fgsm-rs", "n-fgsm", "free", "grad-align")
"""Objectives that look one step far: those that can overfit catastrophically."""


@cache
def takes(name: str, setting: str) -> bool:
    """Whether the objective `name` has a setting of that name.

    >>> takes("msd", "others"), takes("trades", "others")
    (True, False)
    """
    return setting in signature(OBJECTIVES[name]).parameters


def objective(name: str, **settings: Any) -> Objective:
    """The objective called `name`, with those of the `settings` that it has.

    `smoothing` is the label smoothing, `teacher` a Classifier to stay close to, `others` further
    threats. Raises UserError for a name that does not exist.
    """
    if name not in OBJECTIVES:
        raise UserError(f"an objective: {', '.join(OBJECTIVES)}", repr(name), "write pgd-at")
    taken = {key: value for key, value in settings.items() if takes(name, key)}
    return OBJECTIVES[name](**taken)


def _both(model: Classifier, x: Tensor, x_adv: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of clean and of attacked pictures, one forward each, as the authors have it."""
    return model(x), model(x_adv)
