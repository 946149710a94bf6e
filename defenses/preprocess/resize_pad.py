"""A random size at a random place (Xie et al. 2018, arXiv 1711.01991)."""

import torch
from torch import Tensor
from torch.nn import functional

from robustkit.defenses.stage import Stage
from robustkit.errors import UserError


def random_resize_pad(lowest: float = 0.85) -> Stage:
    """Each picture shrunk to `lowest` to 1 of its size and put somewhere on black, by chance.

    Differentiable as it is, so that averages over its draws (EOT) attack it. Deviation: the paper
    enlarges the canvas; here the picture shrinks, so that the model keeps the size it was made for.
    """
    if not 0 < lowest <= 1:
        raise UserError("a share of the size in (0, 1]", str(lowest), "write for example 0.85")

    def run(x: Tensor) -> Tensor:
        drawn = torch.rand(len(x), 3, device=x.device, dtype=x.dtype)
        share = lowest + (1 - lowest) * drawn[:, 0]
        room = 1 - share
        # Places are in [-1, 1] of the canvas; what lies outside of the picture reads as black.
        grid = torch.zeros(len(x), 2, 3, device=x.device, dtype=x.dtype)
        for axis in (0, 1):
            grid[:, axis, axis] = 1 / share
            grid[:, axis, 2] = (2 * drawn[:, 1 + axis] - 1) * room / share
        where = functional.affine_grid(grid, list(x.shape), align_corners=False)
        return functional.grid_sample(x, where, align_corners=False)

    return Stage("resize-pad", run, random=True, settings={"lowest": lowest})
