"""Rotations and translations: the worst of a grid, or of random tries.

Engstrom et al. 2019, arXiv 1712.02779, section 3, as the threat `spatial:DEGREES,PIXELS`. As
published, a picture is resampled bilinearly and what comes in from outside is black. Deviations:
where several moves fool, the first of them counts; where none does, that of the best margin.
"""

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Problem
from robustkit.attacks.parts.made import trying


def rotation_translation(*, rotations: int = 31, shifts: int = 5) -> Attack:
    """The worst of all moves of a grid: so many angles, and so many shifts each way.

    Published: 31 angles and 5 shifts in each direction, 775 queries. A single one is no rotation,
    or no shift.

    >>> rotation_translation().steps
    775
    """

    def propose(problem: Problem, t: Tensor) -> Tensor:
        """The move that comes at step `t`, `[B,3]`."""
        angle, right, down = t // shifts**2, t // shifts % shifts, t % shifts
        ticks = _tick(angle, rotations), _tick(right, shifts), _tick(down, shifts)
        return _within(problem, torch.stack(ticks, 1))

    settings = {"rotations": rotations, "shifts": shifts}
    return trying("rotation-translation", propose, rotations * shifts**2, settings=settings)


def worst_of_k(*, queries: int = 10) -> Attack:
    """The worst of `queries` random moves, other ones for each sample (published: 10).

    >>> worst_of_k().steps
    10
    """

    def propose(problem: Problem, t: Tensor) -> Tensor:
        """A move drawn for step `t`, `[B,3]`."""
        return _within(problem, 2 * problem.draws.at(problem.restart, t).uniform((3,)) - 1)

    return trying("worst-of-k", propose, queries, settings={"queries": queries})


def _within(problem: Problem, share: Tensor) -> Tensor:
    """Angle and shifts from shares `[B,3]` of the limits in [-1, 1]."""
    degrees, pixels = problem.threat.limits
    # Made here and not on the host: a copy would wait for the device.
    most = torch.where(torch.arange(3, device=share.device) == 0, degrees, pixels)
    return share * most * problem.eps[:, None]


def _tick(number: Tensor, count: int) -> Tensor:
    """The place `[B]` of that number among `count` even ones from -1 to 1; one alone is zero."""
    return 2 * number / (count - 1) - 1 if count > 1 else torch.zeros_like(number).float()
