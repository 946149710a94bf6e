"""Adam over a batch whose samples stand at different steps."""

from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.norms import spread

MEAN_DECAY, SQUARE_DECAY = 0.9, 0.999


class Moments(NamedTuple):
    """Running mean of the gradients and of their squares, `[B, ...]`."""

    mean: Tensor
    square: Tensor

    @classmethod
    def zero(cls, like: Tensor) -> "Moments":
        """No gradient seen yet, for variables shaped `like`."""
        return cls(torch.zeros_like(like), torch.zeros_like(like))


def adam(moments: Moments, gradient: Tensor, t: Tensor) -> tuple[Moments, Tensor, Tensor]:
    """One more gradient, the first at `t` `[B]` = 0: the moments, their mean and their scale.

    Kingma & Ba 2014, arXiv 1412.6980, algorithm 1, with its published decays: a step of size one
    goes along mean / scale, both corrected for the zeros that the moments began with.

    >>> _, mean, scale = adam(Moments.zero(torch.ones(1)), torch.ones(1) * 5, torch.zeros(1))
    >>> round(float(mean / scale), 4)
    1.0
    """
    mean = MEAN_DECAY * moments.mean + (1 - MEAN_DECAY) * gradient
    square = SQUARE_DECAY * moments.square + (1 - SQUARE_DECAY) * gradient.square()
    seen, seen_square = (spread(1 - decay ** (t + 1), mean) for decay in (MEAN_DECAY, SQUARE_DECAY))
    return Moments(mean, square), mean / seen, (square / seen_square).sqrt() + 1e-8
