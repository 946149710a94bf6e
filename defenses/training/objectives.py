"""What adversarial training minimises: `objective(model, batch, threat) -> [B]`, one row each.

An objective crafts its own pictures, with frozen weights, and returns the loss of each sample in
the mode that the module is in. To add one: write a function that returns an `Objective`, add a row.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from robustkit.defenses.training.inner import (
    Batch,
    Craft,
    divergent,
    gaussian_noise,
    kl,
    noisy,
    steep,
    still,
)
from robustkit.errors import UserError
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

Objective = Callable[[Classifier, Batch, ThreatModel], Tensor]
"""`objective(model, batch, threat)`: the loss `[B]` to be minimised, with its graph."""


def pgd_at(*, steps: int = 10, length: float = 0.25, smoothing: float = 0.0) -> Objective:
    """Cross-entropy on PGD's pictures (Madry et al. 2018, 1706.06083), steps of `length` eps.

    `smoothing` is the label smoothing, here and in every objective with cross-entropy.
    """
    return _crafted(steep(steps=steps, length=length), smoothing)


def fgsm_rs(*, length: float = 1.25, smoothing: float = 0.0) -> Objective:
    """One long step from a random start (Wong et al. 2020, 2001.03994): fast, and it can fail.

    Its failure, catastrophic overfitting, is what `guards` look for.
    """
    return _crafted(steep(steps=1, length=length), smoothing)


def n_fgsm(*, spread: float = 2.0, smoothing: float = 0.0) -> Objective:
    """One step from strong noise, not clipped to eps (de Jorge et al. 2022, 2202.01181)."""
    return _crafted(noisy(spread=spread), smoothing)


def trades(*, steps: int = 10, beta: float = 6.0, smoothing: float = 0.0) -> Objective:
    """Clean cross-entropy plus beta times the divergence under attack (Zhang et al. 2019).

    arXiv 1901.08573. The attack sees running statistics, as the authors' code has it.
    """
    craft = divergent(steps=steps)

    def objective(model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
        with still(model, batch_statistics=False, seed=batch.step):
            x_adv = craft(model, batch, threat)
        logits, attacked = _both(model, batch.x, x_adv)
        natural = _cross_entropy(logits, batch.y, smoothing)
        return natural + beta * kl(logits.softmax(1), attacked)

    return objective


def mart(*, steps: int = 10, beta: float = 5.0) -> Objective:
    """Boosted cross-entropy, and more weight on what is misclassified (Wang et al. 2020, ICLR).

    It learns the attack that it trains on: expect less under AutoAttack than under PGD.
    """
    craft = steep(steps=steps, length=0.25)

    def objective(model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
        with still(model, batch_statistics=False, seed=batch.step):
            x_adv = craft(model, batch, threat)
        logits, attacked = _both(model, batch.x, x_adv)
        share, label = attacked.softmax(1), batch.y[:, None]
        rival = share.scatter(1, label, 0.0).amax(1)
        boosted = functional.cross_entropy(attacked, batch.y, reduction="none")
        boosted = boosted - torch.log(1.0001 - rival)
        belief = logits.softmax(1)
        unsure = 1 - belief.gather(1, label).squeeze(1)
        return boosted + beta * kl(belief, attacked) * unsure

    return objective


def gaussian(*, smoothing: float = 0.0) -> Objective:
    """Cross-entropy under Gaussian noise of deviation eps (Cohen et al. 2019, 1902.02918).

    What a model needs before `robustkit certify`: train it for l2:0.5 to certify at sigma 0.5.
    """
    return _crafted(gaussian_noise, smoothing)


OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "pgd-at": pgd_at,
    "pgd-2": lambda **rest: pgd_at(steps=2, length=0.5, **rest),
    "fgsm-rs": fgsm_rs,
    "n-fgsm": n_fgsm,
    "trades": trades,
    "mart": mart,
    "gaussian": gaussian,
}


def objective(name: str, *, smoothing: float = 0.0) -> Objective:
    """The objective called `name`; raises UserError for one that does not exist.

    MART's own loss stands where label smoothing would be: it takes none.
    """
    if name not in OBJECTIVES:
        raise UserError(f"an objective: {', '.join(OBJECTIVES)}", repr(name), "write pgd-at")
    return OBJECTIVES[name](**({} if name == "mart" else {"smoothing": smoothing}))


def _crafted(craft: Craft, smoothing: float) -> Objective:
    """Cross-entropy on the pictures of `craft`, made with the batch's own statistics."""

    def objective(model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
        with still(model, batch_statistics=True, seed=batch.step):
            x_adv = craft(model, batch, threat)
        return _cross_entropy(model(x_adv), batch.y, smoothing)

    return objective


def _both(model: Classifier, x: Tensor, x_adv: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of clean and of attacked pictures, one forward each, as the authors have it."""
    return model(x), model(x_adv)


def _cross_entropy(logits: Tensor, y: Tensor, smoothing: float) -> Tensor:
    return functional.cross_entropy(logits, y, reduction="none", label_smoothing=smoothing)
