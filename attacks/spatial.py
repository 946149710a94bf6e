"""Rotations and translations: the worst of a grid, or of random tries.

Engstrom et al. 2019, arXiv 1712.02779, section 3. What an attacker may do here has no norm: the
budget is an angle and a number of pixels, so these are functions with a result of their own and no
rows of the catalogue; nothing they say counts towards an lp threat. As published, a picture is
resampled bilinearly and what comes in from outside is black.
"""

from collections.abc import Iterable
from math import pi
from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.draws import Draws
from robustkit.goal import Goal
from robustkit.losses import margin
from robustkit.model import Classifier
from robustkit.norms import spread

Move = tuple[Tensor, Tensor, Tensor]
"""Angle in degrees, anticlockwise, and pixels to the right and down, each `[B]`."""


class Spatial(NamedTuple):
    """The worst move of every picture: `x_adv` `[B,C,H,W]`, the rest `[B]`.

    `fooled` says whether any move succeeded, `margin` how clearly the worst one did.
    """

    x_adv: Tensor
    fooled: Tensor
    margin: Tensor
    degrees: Tensor
    right: Tensor
    down: Tensor


def moved(x: Tensor, move: Move) -> Tensor:
    """Pictures `[B,C,H,W]` rotated about their centre, then shifted.

    >>> x, zero = torch.rand(1, 1, 4, 4), torch.zeros(1)
    >>> torch.allclose(moved(x, (zero + 90, zero, zero)), x.rot90(1, (2, 3)), atol=1e-5)
    True
    """
    degrees, right, down = move
    height, width = x.shape[2:]
    cosine, sine = (degrees * pi / 180).cos(), (degrees * pi / 180).sin()
    # Where each pixel of the result comes from, in pixels from the centre: the move undone.
    rows = torch.arange(height, device=x.device) - (height - 1) / 2
    columns = torch.arange(width, device=x.device) - (width - 1) / 2
    down_now = rows[None, :, None] - down[:, None, None]
    right_now = columns[None, None, :] - right[:, None, None]
    cosine, sine = cosine[:, None, None], sine[:, None, None]
    source_right = cosine * right_now - sine * down_now
    source_down = sine * right_now + cosine * down_now
    grid = torch.stack((2 * source_right / width, 2 * source_down / height), 3).to(x)
    return torch.nn.functional.grid_sample(x, grid, align_corners=False)


def worst_of_grid(
    model: Classifier,
    x: Tensor,
    goal: Goal,
    *,
    degrees: float = 30.0,
    pixels: float = 3.0,
    grid: tuple[int, int] = (31, 5),
) -> Spatial:
    """The worst of all moves of a grid: `grid` angles in +-`degrees`, shifts in +-`pixels`.

    Published: 31 angles, 5 shifts each way, 775 forwards. The model must be frozen.
    """
    angles, shifts = (
        _ticks(most, count) for most, count in ((degrees, grid[0]), (pixels, grid[1]))
    )
    moves = ((a, r, d) for a in angles for r in shifts for d in shifts)
    like = torch.zeros(len(x), device=x.device)
    return _worst(model, x, goal, ((like + a, like + r, like + d) for a, r, d in moves))


def worst_of_random(
    model: Classifier,
    x: Tensor,
    goal: Goal,
    *,
    draws: Draws,
    queries: int = 10,
    degrees: float = 30.0,
    pixels: float = 3.0,
) -> Spatial:
    """The worst of `queries` random moves, other ones for each sample (published: 10)."""

    def moves() -> Iterable[Move]:
        for number in range(queries):
            drawn = 2 * draws.at(number).uniform((3,)) - 1
            yield drawn[:, 0] * degrees, drawn[:, 1] * pixels, drawn[:, 2] * pixels

    return _worst(model, x, goal, moves())


def _worst(model: Classifier, x: Tensor, goal: Goal, moves: Iterable[Move]) -> Spatial:
    """Try every move; a success beats any failure, then the margin decides."""
    low = torch.full((len(x),), -torch.inf, device=x.device)
    zero = torch.zeros_like(low)
    worst = Spatial(x, zero.bool(), low, zero, zero, zero)
    with torch.no_grad():
        for move in moves:
            x_adv = moved(x, move)
            logits = model(x_adv)
            hit = goal.reached(logits)
            gap = margin(logits, goal).nan_to_num(torch.inf)
            better = (hit & ~worst.fooled) | ((hit == worst.fooled) & (gap > worst.margin))
            found = Spatial(x_adv, hit, gap, *move)
            pairs = zip(found, worst, strict=True)
            worst = Spatial(*(torch.where(spread(better, new), new, old) for new, old in pairs))
    return worst


def _ticks(most: float, count: int) -> list[float]:
    """Evenly spaced numbers from -most to most; one alone is zero."""
    return torch.linspace(-most, most, count).tolist() if count > 1 else [0.0]
