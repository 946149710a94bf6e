"""The nearest point of a hyperplane inside a box, in l1, l2 and linf.

Every pixel moves along the normal by a magnitude between 0 and the room up to its wall. In linf
all move alike and in l2 as the normal does until they meet their walls, in l1 those with the
largest normal move first. Croce & Hein 2020 (arXiv 1907.02044, section 3.1) sort the walls; here
linf and l2 are solved by Newton's method, which on a concave function with finitely many pieces
comes from below and ends exactly.
"""

import torch
from torch import Tensor

from robustkit.norms import TINY, Box, spread
from robustkit.precision import exact

ROUNDS = 12


def onto_hyperplane(norm: str, normal: Tensor, rise: Tensor, box: Box) -> Tensor:
    """The smallest `delta` `[B, ...]` in `box` with <normal, delta> = rise `[B]`.

    Where the box does not reach that far it is the corner that comes nearest.
    """
    way = normal * spread(torch.where(rise < 0, -1.0, 1.0), normal)
    room = torch.where(way > 0, box[1], -box[0]) * (way != 0)
    slope, walls = way.abs().flatten(1), room.flatten(1)
    fill = _largest_first if norm == "l1" else _together
    size = fill(slope, walls, rise.abs(), torch.ones_like(slope) if norm == "linf" else slope)
    return size.reshape(normal.shape) * way.sign()


def _together(slope: Tensor, walls: Tensor, rise: Tensor, shape: Tensor) -> Tensor:
    """Magnitudes min(level * shape, walls) with <slope, magnitudes> = rise."""
    level = torch.zeros_like(rise)
    for _ in range(ROUNDS):
        free = level[:, None] * shape < walls
        left = rise - (slope * walls * ~free).sum(1)
        level = torch.maximum(level, left / (slope * shape * free).sum(1).clamp_min(TINY))
    return (level[:, None] * shape).minimum(walls)


def _largest_first(slope: Tensor, walls: Tensor, rise: Tensor, _shape: Tensor) -> Tensor:
    """Magnitudes that fill the walls from the largest slope down until the rise is made."""
    order = slope.argsort(1, descending=True)
    steep, rooms = slope.gather(1, order), walls.gather(1, order)
    gains = exact(steep * rooms)
    before = gains.cumsum(1) - gains
    take = (rise[:, None] - before).clamp_min(0) / steep.clamp_min(TINY)
    return torch.zeros_like(slope).scatter(1, order, take.to(slope).minimum(rooms))
