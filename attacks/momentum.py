"""Momentum for transfer and for rough losses: MI-FGSM.

Dong et al. 2018, arXiv 1710.06081. Deviation: an all-zero gradient adds nothing to the momentum,
where dividing by its mean would freeze the sample with NaN.
"""

from robustkit.attacks.attack import Attack
from robustkit.attacks.parts.climb import climb
from robustkit.attacks.parts.gradient import plain
from robustkit.losses import LOSSES


def mi_fgsm(
    *, steps: int = 10, step_size: float | None = None, decay: float = 1.0, loss: str = "log-odds"
) -> Attack:
    """The momentum iterative method; `decay` is the published mu.

    >>> mi_fgsm().settings["decay"]
    1.0
    """
    settings = {"steps": steps, "step_size": step_size, "decay": decay, "loss": loss}
    return climb(
        "mi-fgsm",
        source=plain(LOSSES[loss]),
        loss=LOSSES[loss],
        random_start=False,
        momentum=decay,
        settings=settings,
    )
