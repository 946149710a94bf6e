"""Patches as a norm: whatever changes lies in one upright rectangle of a given shape.

The budget is a share of the picture's area, and the size of a change is the share that the
smallest rectangle around it takes: the ball of radius eps is every picture that a patch of that
area, put anywhere, can make. Like l0 it is a union of sets, not convex; projection and steepest
point are still exact, since all places are tried at once by sums over an integral image.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.draws import Draws
from robustkit.norms import Box, Norm
from robustkit.precision import exact

WHOLE = 1e-3
"""What rounding may take from a side that is a whole number of pixels."""


class Rectangle(NamedTuple):
    """One rectangle a sample, in pixels, every tensor `[B]` int64."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor

    def mask(self, like: Tensor) -> Tensor:
        """True inside, `[B,1,H,W]`, for pictures `like` `[B,C,H,W]`."""
        row = torch.arange(like.shape[2], device=like.device)[None, :, None]
        column = torch.arange(like.shape[3], device=like.device)[None, None]
        top, left, height, width = (part[:, None, None] for part in self)
        rows = (row >= top) & (row < top + height)
        return (rows & (column >= left) & (column < left + width))[:, None]


def sides(like: Tensor, eps: Tensor, shape: tuple[int, int] = (1, 1)) -> tuple[Tensor, Tensor]:
    """Height and width `[B]` of the largest rectangle of area share `eps` `[B]`, in whole pixels.

    `shape` is height to width; a rectangle is cut off where the picture `like` ends.

    >>> sides(torch.zeros(1, 3, 8, 8), torch.tensor([0.1]))
    (tensor([2]), tensor([2]))
    """
    high, wide = like.shape[2:]
    unit = (exact(eps) * (high * wide) / (shape[0] * shape[1])).sqrt()
    height, width = ((side * unit + WHOLE).floor().long() for side in shape)
    return height.clamp_max(high), width.clamp_max(wide)


def inside_sums(values: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """The sum of `values` `[B,H,W]` in the rectangle that begins at each pixel, `[B,H,W]`.

    Minus infinity where the rectangle would stick out.
    """
    _, high, wide = values.shape
    table = torch.nn.functional.pad(exact(values).cumsum(1).cumsum(2), (1, 0, 1, 0))
    row = torch.arange(high, device=values.device)[None]
    column = torch.arange(wide, device=values.device)[None]
    bottom, right = row + height[:, None], column + width[:, None]
    fits = (bottom <= high)[:, :, None] & (right <= wide)[:, None]
    down = bottom.clamp_max(high)[:, :, None].expand(-1, -1, wide + 1)
    across = right.clamp_max(wide)[:, None].expand(-1, high, -1)
    strip = table.gather(1, down) - table[:, :high]
    return (strip.gather(2, across) - strip[:, :, :wide]).masked_fill(~fits, -torch.inf)


def best_place(gain: Tensor, eps: Tensor, shape: tuple[int, int]) -> Rectangle:
    """The rectangle with the largest sum of `gain` `[B,C,H,W]`."""
    height, width = sides(gain, eps, shape)
    place = inside_sums(gain.sum(1), height, width).flatten(1).argmax(1)
    return Rectangle(place // gain.shape[3], place % gain.shape[3], height, width)


def patch_norm(shape: tuple[int, int] = (1, 1)) -> Norm:
    """The norm of patches whose height is to their width as `shape`; a square by default."""

    def size(delta: Tensor) -> Tensor:
        """The share that the smallest rectangle around the change takes."""
        changed = (delta != 0).any(1)
        units = [
            _extent(changed.any(3 - axis)) / side for axis, side in zip((1, 2), shape, strict=True)
        ]
        area = torch.maximum(*units).square() * (shape[0] * shape[1])
        return (area / changed[0].numel()).to(delta.dtype)

    def project(delta: Tensor, eps: Tensor, box: Box) -> Tensor:
        """The nearest change inside one rectangle."""
        clipped = delta.clamp(*box)
        gain = delta.square() - (delta - clipped).square()
        return _only(clipped, best_place(gain, eps, shape))

    def steepest(gradient: Tensor, eps: Tensor, box: Box | None) -> Tensor:
        """The best paint in the best place, exactly."""
        wall = gradient.sign() if box is None else torch.where(gradient > 0, box[1], box[0])
        wall = torch.where(gradient == 0, 0, wall)
        return _only(wall, best_place(gradient * wall, eps, shape))

    def sample(like: Tensor, eps: Tensor, draws: Draws) -> Tensor:
        """Uniform paint in a drawn place."""
        noise = (2 * draws.at(0).uniform(like.shape[1:]) - 1).to(like)
        return _only(noise, drawn_place(like, eps, draws.at(1), shape))

    return Norm("patch", size, project, steepest, sample)


def drawn_place(like: Tensor, eps: Tensor, draws: Draws, shape: tuple[int, int]) -> Rectangle:
    """A rectangle at a uniformly drawn place."""
    drawn = draws.uniform((2,))
    return placed(like, eps, shape, (drawn[:, 0], drawn[:, 1]))


def placed(
    like: Tensor, eps: Tensor, shape: tuple[int, int], share: tuple[Tensor, Tensor]
) -> Rectangle:
    """A rectangle at these shares `[B]` in [0, 1] of the room there is, from the top and left."""
    height, width = sides(like, eps, shape)
    rooms = like.shape[2] - height, like.shape[3] - width
    top, left = (
        torch.minimum((exact(part) * (room + 1)).long(), room)
        for part, room in zip(share, rooms, strict=True)
    )
    return Rectangle(top, left, height, width)


def _extent(seen: Tensor) -> Tensor:
    """From the first to the last True of `[B, N]`, both counted, `[B]`; 0 without any."""
    first = exact(seen).argmax(1)
    last = seen.shape[1] - exact(seen.flip(1)).argmax(1)
    return exact(torch.where(seen.any(1), last - first, 0))


def _only(delta: Tensor, rectangle: Rectangle) -> Tensor:
    return delta.masked_fill(~rectangle.mask(delta), 0)
