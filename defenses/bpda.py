"""Stages with a gradient to follow: the values of the stage, the gradient of what stands in for it.

Backward pass differentiable approximation (BPDA, Athalye et al. 2018, arXiv 1802.00420, sec. 4.1).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from robustkit.defenses.stage import Stage, Transform


def stood_in(run: Transform, stand_in: Transform) -> Transform:
    """The values of `run` with the gradient of `stand_in`.

    >>> x = torch.tensor([0.3], requires_grad=True)
    >>> out = stood_in(torch.round, lambda x: 2 * x)(x)
    >>> round(float(out.detach()), 6), torch.autograd.grad(out, x)[0].tolist()
    (0.0, [2.0])
    """

    def both(x: Tensor) -> Tensor:
        """Forward as deployed, backward as stood in for."""
        with torch.no_grad():
            out = run(x)
        smooth = _fitting(stand_in(x), out)
        return smooth + (out - smooth).detach()

    return both


def _fitting(x: Tensor, out: Tensor) -> Tensor:
    """`x` at the size of `out`, for stages that change it."""
    if x.shape == out.shape:
        return x
    return functional.interpolate(x, out.shape[-2:], mode="bilinear", align_corners=False)


def followable(stage: Stage) -> Transform:
    """The stage with its own gradient, or with that of its surrogate where it declares one."""
    return stood_in(stage.run, stage.surrogate) if stage.surrogate else stage.run


def straightened(stages: Sequence[Stage]) -> list[Transform]:
    """The stages that declare a surrogate with the gradient of the identity.

    Where none does, all of them: a stage may be mistaken about itself.
    """
    declared = any(stage.surrogate for stage in stages)
    return [
        stood_in(stage.run, lambda x: x) if stage.surrogate or not declared else stage.run
        for stage in stages
    ]
