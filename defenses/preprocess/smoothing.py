"""Each pixel by what is around it: median and Gaussian smoothing (Xu et al. 2018, 1704.01155)."""

import torch
from torch import Tensor
from torch.nn import functional

from robustkit.defenses.stage import Stage
from robustkit.distortions.blurs import gaussian
from robustkit.errors import UserError


def median_smoothing(size: int = 3) -> Stage:
    """The median of the `size` x `size` pixels around each, an odd number; the border mirrored.

    A median follows one pixel only. Its stand-in is the mean of them all, which shows an attacker
    what several pixels together can do.
    """
    if size < 3 or size % 2 == 0:
        raise UserError("an odd window of 3 or more", str(size), "write for example size=3")

    def run(x: Tensor) -> Tensor:
        return _windows(x, size).median(2).values.view_as(x)

    def mean(x: Tensor) -> Tensor:
        return _windows(x, size).mean(2).view_as(x)

    return Stage("median", run, mean, settings={"size": size})


def gaussian_smoothing(sigma: float = 1.0) -> Stage:
    """A Gaussian blur of `sigma` pixels, the border mirrored; differentiable as it is."""
    if not 0 < sigma < float("inf"):
        raise UserError("a blur of sigma > 0 pixels", str(sigma), "write for example sigma=1")

    def run(x: Tensor) -> Tensor:
        return gaussian(x, sigma)

    return Stage("gaussian-smoothing", run, settings={"sigma": sigma})


def _windows(x: Tensor, size: int) -> Tensor:
    """The pixels around each pixel, `[B,C,size^2,H*W]`."""
    reach = size // 2
    wide = functional.pad(x, (reach,) * 4, mode="reflect")
    return torch.unflatten(functional.unfold(wide, size), 1, (x.shape[1], size * size))
