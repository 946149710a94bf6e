"""Total variation minimisation from a few pixels (Guo et al. 2018, arXiv 1711.00117)."""

import torch
from torch import Tensor

from robustkit.defenses.stage import Stage
from robustkit.errors import UserError

SOFT = 1e-2
"""Below this difference of neighbours the absolute value is a parabola."""


def total_variation(weight: float = 0.03, *, keep: float = 0.5, steps: int = 50) -> Stage:
    """The smoothest picture near a random share `keep` of the pixels; its stand-in is the identity.

    `steps` of accelerated descent on the squared distance at the pixels that are kept, halved,
    plus `weight` times the total variation. With `keep` of 1 nothing is random.
    """
    if not (weight >= 0 and 0 < keep <= 1 and steps > 0):
        raise UserError(
            "weight >= 0, keep in (0, 1] and steps > 0", f"{weight}, {keep}, {steps}",
            "leave the defaults",
        )  # fmt: skip

    def run(x: Tensor) -> Tensor:
        with torch.no_grad():
            kept = (torch.rand_like(x[:, :1]) < keep).to(x)
            return _smoothest(x, kept, weight, steps)

    settings = {"weight": weight, "keep": keep, "steps": steps}
    return Stage("total-variation", run, lambda x: x, random=keep < 1, settings=settings)


def _smoothest(x: Tensor, kept: Tensor, weight: float, steps: int) -> Tensor:
    """Nesterov's descent; the step is one over the gradient's greatest slope."""
    step = 1 / (1 + 8 * weight / SOFT)
    z = ahead = x * kept
    for number in range(steps):
        slope = kept * (ahead - x) + weight * _slope(ahead)
        following = (ahead - step * slope).clamp(0, 1)
        ahead = following + number / (number + 3) * (following - z)
        z = following
    return z


def _slope(z: Tensor) -> Tensor:
    """The gradient of the softened total variation, `[B,C,H,W]`."""
    slope = torch.zeros_like(z)
    for axis in (2, 3):
        gap = z.diff(dim=axis)
        pull = (gap / SOFT).clamp(-1, 1)
        size = z.shape[axis] - 1
        slope.narrow(axis, 0, size).sub_(pull)
        slope.narrow(axis, 1, size).add_(pull)
    return slope
