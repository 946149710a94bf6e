"""Pictures moved and mirrored, keyed by sample and epoch, so that resuming draws the same."""

import torch
from torch import Tensor
from torch.nn import functional

from robustkit.draws import Draws


def shifted(x: Tensor, draws: Draws, most: int) -> Tensor:
    """Each picture of `x` `[B,C,H,W]` moved by -most..most pixels both ways, zeros moving in."""
    if not most:
        return x
    batch, _, height, width = x.shape
    padded = functional.pad(x, (most, most, most, most))
    top, left = draws.integers(2 * most + 1, (2,)).unbind(1)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(batch, device=x.device), :, top, left]


def mirrored(x: Tensor, draws: Draws) -> Tensor:
    """Every picture of `x` `[B,C,H,W]` mirrored left to right, or not, at even odds."""
    swapped = draws.at(1).signs((1, 1, 1)).to(x) > 0
    return torch.where(swapped, x.flip(3), x)
