"""Momentum and its company: MI, NI, SI, DI, TI and VMI-FGSM, made for examples that transfer.

Dong et al. 2018 (arXiv 1710.06081), Lin et al. 2020 (1908.06281), Xie et al. 2019 (1803.06978),
Dong et al. 2019 (1904.02884), Wang & He 2021 (2103.15571). All have momentum `decay` (the
published mu; 0 leaves it out) and are sentences over one loop. Deviations: the loss is the log
odds; success is judged at every point of the path, for which NI and DI look there once more; an
all-zero gradient adds nothing to the momentum.
"""

from robustkit.attacks.attack import Attack
from robustkit.attacks.parts.climb import climb, lengths
from robustkit.attacks.parts.gradient import plain
from robustkit.attacks.parts.momentum import heavy_ball, variance_tuned
from robustkit.attacks.parts.views import ahead, blurred, diverse, scaled, through
from robustkit.losses import LOSSES


def mi_fgsm(
    *, steps: int = 10, step_size: float | None = None, decay: float = 1.0, loss: str = "log-odds"
) -> Attack:
    """The momentum iterative method.

    >>> mi_fgsm().settings["decay"]
    1.0
    """
    settings = {"steps": steps, "step_size": step_size, "decay": decay, "loss": loss}
    source = plain(LOSSES[loss])
    return climb("mi-fgsm", source, direction=heavy_ball(decay), settings=settings)


def ni_fgsm(
    *, steps: int = 10, step_size: float | None = None, decay: float = 1.0, loss: str = "log-odds"
) -> Attack:
    """Nesterov's momentum: the gradient is taken where the momentum leads. Norm: linf."""
    settings = {"steps": steps, "step_size": step_size, "decay": decay, "loss": loss}
    source = through([ahead(decay, lengths(steps, step_size))], LOSSES[loss])
    return climb("ni-fgsm", source, direction=heavy_ball(decay), settings=settings)


def si_ni_fgsm(
    *,
    steps: int = 10,
    step_size: float | None = None,
    decay: float = 1.0,
    copies: int = 5,
    loss: str = "log-odds",
) -> Attack:
    """Nesterov's momentum over `copies` scaled pictures, the k-th divided by 2^k. Norm: linf."""
    settings = {
        "steps": steps, "step_size": step_size, "decay": decay, "copies": copies, "loss": loss
    }  # fmt: skip
    views = [ahead(decay, lengths(steps, step_size)), scaled(copies)]
    source = through(views, LOSSES[loss])
    return climb("si-ni-fgsm", source, direction=heavy_ball(decay), settings=settings)


def di_fgsm(
    *,
    steps: int = 10,
    step_size: float | None = None,
    decay: float = 1.0,
    probability: float = 0.5,
    smallest: float = 0.9,
    loss: str = "log-odds",
) -> Attack:
    """Gradients through randomly resized and padded pictures, drawn anew each step and sample."""
    settings = {
        "steps": steps, "step_size": step_size, "decay": decay,
        "probability": probability, "smallest": smallest, "loss": loss,
    }  # fmt: skip
    source = through([diverse(probability, smallest)], LOSSES[loss])
    return climb("di-fgsm", source, direction=heavy_ball(decay), settings=settings)


def ti_fgsm(
    *,
    steps: int = 10,
    step_size: float | None = None,
    decay: float = 1.0,
    pixels: int = 15,
    sigma: float = 3.0,
    loss: str = "log-odds",
) -> Attack:
    """Gradients smoothed by a Gaussian of `pixels` (odd) a side, as if averaged over shifts."""
    settings = {
        "steps": steps, "step_size": step_size, "decay": decay,
        "pixels": pixels, "sigma": sigma, "loss": loss,
    }  # fmt: skip
    source = blurred(plain(LOSSES[loss]), pixels=pixels, sigma=sigma)
    return climb("ti-fgsm", source, direction=heavy_ball(decay), settings=settings)


def vmi_fgsm(
    *,
    steps: int = 10,
    step_size: float | None = None,
    decay: float = 1.0,
    neighbours: int = 5,
    reach: float = 1.5,
    loss: str = "log-odds",
) -> Attack:
    """Momentum with less variance, by `neighbours` looks within `reach` eps of the last point."""
    settings = {
        "steps": steps, "step_size": step_size, "decay": decay,
        "neighbours": neighbours, "reach": reach, "loss": loss,
    }  # fmt: skip
    score = LOSSES[loss]
    direction = variance_tuned(decay, score, neighbours=neighbours, reach=reach)
    return climb("vmi-fgsm", plain(score), direction=direction, settings=settings)
