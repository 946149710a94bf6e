"""Pictures read at other places than their pixels: rotated, shifted, bent; bilinear, batched."""

from math import pi

import torch
from torch import Tensor

from robustkit.norms import spread


def sampled(x: Tensor, down: Tensor, right: Tensor, *, outside: str = "zeros") -> Tensor:
    """Pictures `x` `[B,C,H,W]` read at rows `down` and columns `right`, in pixels.

    Both broadcast to `[B,H,W]`. `outside` of the picture lies "zeros", its "border" again, or its
    "reflection".
    """
    height, width = x.shape[2:]
    down, right = torch.broadcast_tensors(down, right, x[:, 0])[:2]
    grid = torch.stack(((2 * right + 1) / width - 1, (2 * down + 1) / height - 1), 3)
    return torch.nn.functional.grid_sample(
        x, grid.to(x.dtype), padding_mode=outside, align_corners=False
    )


def places(x: Tensor) -> tuple[Tensor, Tensor]:
    """Row `[1,H,1]` and column `[1,1,W]` of every pixel."""
    rows = torch.arange(x.shape[2], device=x.device, dtype=torch.float32)
    columns = torch.arange(x.shape[3], device=x.device, dtype=torch.float32)
    return rows[None, :, None], columns[None, None]


def moved(x: Tensor, move: Tensor, *, black: float = 0.0) -> Tensor:
    """Pictures `[B,C,H,W]` rotated about their centre, then shifted; `black` comes in.

    `move` `[B,3]` is an angle in degrees, anticlockwise, and pixels to the right and down. No move
    at all leaves a picture as it is, bit for bit.

    >>> x, quarter = torch.rand(1, 1, 4, 4), torch.tensor([[90.0, 0.0, 0.0]])
    >>> torch.allclose(moved(x, quarter), x.rot90(1, (2, 3)), atol=1e-5)
    True
    """
    degrees, right, down = (part[:, None, None] for part in move.float().unbind(1))
    cosine, sine = (degrees * pi / 180).cos(), (degrees * pi / 180).sin()
    rows, columns = places(x)
    middle, centre = (x.shape[2] - 1) / 2, (x.shape[3] - 1) / 2
    # Where each pixel of the result comes from: the move undone.
    down_now, right_now = rows - middle - down, columns - centre - right
    source_right = cosine * right_now - sine * down_now + centre
    source_down = sine * right_now + cosine * down_now + middle
    turned = sampled(x - black, source_down, source_right) + black
    return torch.where(spread((move == 0).all(1), x), x, turned)


def bent(x: Tensor, flow: Tensor) -> Tensor:
    """Pictures `[B,C,H,W]` in which every pixel comes from `flow` `[B,2,H,W]` pixels away.

    `flow` is how far down and to the right a pixel's source lies; beyond the border is the border.
    Differentiable in both.
    """
    rows, columns = places(x)
    return sampled(x, rows + flow[:, 0], columns + flow[:, 1], outside="border")


def flowed(x: Tensor, flow: Tensor) -> Tensor:
    """The same where there is a flow; without any a picture is left as it is, bit for bit."""
    return torch.where(spread((flow == 0).flatten(1).all(1), x), x, bent(x, flow))
