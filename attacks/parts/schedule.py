"""How a step size or a factor goes down over a run."""

from math import pi

from torch import Tensor


def cosine(t: Tensor, steps: int, first: float, last: float) -> Tensor:
    """From `first` at step 0 to `last` at step `steps` along half a cosine, `[B]`.

    >>> import torch
    >>> cosine(torch.tensor([0, 5, 10]), 10, 1.0, 0.0).round(decimals=6).tolist()
    [1.0, 0.5, 0.0]
    """
    return last + (first - last) * (1 + (t * (pi / steps)).cos()) / 2
