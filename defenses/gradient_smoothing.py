"""Local gradient smoothing: dim what is busier than a picture ought to be, as patches are.

Naseer et al. 2019 (WACV, arXiv 1807.01216). An empirical defense: it changes what a patch must look
like, and proves nothing.
"""

import torch
from torch import Tensor
from torch.nn import functional

from robustkit.defenses.stage import Stage
from robustkit.errors import UserError


def gradient_smoothing(
    strength: float = 2.3, *, block: int = 15, overlap: int = 5, threshold: float = 0.1
) -> Stage:
    """Pixels times one less `strength` times their gradient, where blocks of it are large.

    First-order gradients are scaled to [0, 1] by picture; blocks of `block` pixels, `overlap` of
    them shared with the next, count where their mean is above `threshold`. The stand-in holds the
    dimming constant: the attacker then sees through it as through a darker glass.
    """
    if not (strength >= 0 and 0 <= overlap < block and 0 <= threshold <= 1):
        raise UserError(
            "strength >= 0, 0 <= overlap < block and a threshold in [0, 1]",
            f"{strength}, {block}, {overlap}, {threshold}",
            "leave the defaults",
        )

    def kept(x: Tensor) -> Tensor:
        edges = _edges(x)
        busy = _busy(edges, block, overlap, threshold)
        return 1 - (strength * edges * busy).clamp(0, 1)

    def glass(x: Tensor) -> Tensor:
        return x * kept(x).detach()

    return Stage(
        "gradient-smoothing", lambda x: x * kept(x), glass,
        settings={
            "strength": strength, "block": block, "overlap": overlap, "threshold": threshold
        },
    )  # fmt: skip


def _edges(x: Tensor) -> Tensor:
    """Length of the gradient of the mean channel, scaled to [0, 1] by picture, `[B,1,H,W]`."""
    grey = x.mean(1, keepdim=True)
    down = functional.pad(grey.diff(dim=2), (0, 0, 0, 1))
    across = functional.pad(grey.diff(dim=3), (0, 1, 0, 0))
    # The root has no gradient at 0; this is far below one level of a pixel.
    length = (down.square() + across.square() + 1e-12).sqrt()
    low, high = length.amin((2, 3), keepdim=True), length.amax((2, 3), keepdim=True)
    return (length - low) / (high - low).clamp_min(1e-6)


def _busy(edges: Tensor, block: int, overlap: int, threshold: float) -> Tensor:
    """One where a block lies whose mean is above the threshold, else zero, `[B,1,H,W]`."""
    height, width = edges.shape[2:]
    block = min(block, height, width)
    stride = max(1, block - overlap)
    below, right = -(height - block) % stride, -(width - block) % stride
    full = functional.pad(edges, (0, right, 0, below))
    over = (functional.avg_pool2d(full, block, stride) > threshold).to(edges)
    shape = full.shape[2:]
    spread = functional.fold(
        over.flatten(2).expand(-1, block * block, -1), shape, block, stride=stride
    )
    return (spread[:, :, :height, :width] > 0).to(torch.float32).to(edges)
