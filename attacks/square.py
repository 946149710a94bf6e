"""Square Attack: random search over square patches (Andriushchenko et al. 2020, 1912.00049).

Algorithm 1 with the proposals of algorithm 2 (linf) and 3 (l2). The l1 form is that of Croce & Hein
2021 (2103.01208): algorithm 3 with sums of absolute values and steeper patches, which get more than
the budget and are projected onto it, so that few pixels remain. The schedule of the square's side
is the published one for 10,000 queries, not rescaled to the queries at hand, as AutoAttack uses it.

Deviations: every sample draws its own squares and signs; a square may lie anywhere, the last row
and column included; a linf square that would change nothing has its signs flipped, where the
authors draw again and AutoAttack wastes the query; the side is at most the picture's shorter one.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from robustkit.attacks.attack import Attack, Problem, State, begin, observe
from robustkit.attacks.parts.gradient import glance
from robustkit.losses import LOSSES
from robustkit.norms import spread

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
TINY = 1e-12


class Places(NamedTuple):
    """Uniform draws of one step: two corners, an orientation, all `[B]`, and signs `[B,C,1,1]`."""

    top: Tensor
    left: Tensor
    other_top: Tensor
    other_left: Tensor
    turned: Tensor
    signs: Tensor


class Window(NamedTuple):
    """One square a sample: rows and columns counted from its corner, and where they lie inside."""

    row: Tensor
    column: Tensor
    inside: Tensor


def square(
    *, queries: int = 5000, p_init: float = 0.8, restarts: int = 1, loss: str = "margin"
) -> Attack:
    """Square Attack; `p_init` is the share of the picture that the first squares cover.

    Every query is one step and one forward; a sample stops at its first success.
    Norms: linf, l2, l1.

    >>> square(queries=1000).gradient
    False
    """
    score = LOSSES[loss]

    def init(problem: Problem) -> State:
        """Where a sample begins."""
        start = _stripes(problem) if problem.threat.norm_name == "linf" else _tiles(problem)
        return begin(problem, start)

    def step(problem: Problem, state: State) -> State:
        """One step of every sample."""
        state = observe(problem, state, *glance(problem, state.x, score))
        propose = _flip if problem.threat.norm_name == "linf" else _move_mass
        t = state.t + 1
        return state._replace(x=propose(problem, state.x_adv, t, p_init), t=t)

    settings = {"queries": queries, "p_init": p_init, "restarts": restarts, "loss": loss}
    return Attack(
        "square", init, step, queries, restarts=restarts, gradient=False, settings=settings
    )


@cache
def _halvings(device: torch.device) -> Tensor:
    """The published schedule, once a device, so that no step copies it there again."""
    return torch.tensor(HALVINGS, device=device)


def _sides(x: Tensor, t: Tensor, p_init: float) -> Tensor:
    """The side of each sample's square after `t` queries, `[B]`."""
    height, width = x.shape[2:]
    share = p_init * 0.5 ** torch.bucketize(t, _halvings(t.device)).to(x.dtype)
    return (share * height * width).sqrt().round().long()


def _places(problem: Problem, t: Tensor) -> Places:
    channels = problem.x.shape[1]
    drawn = problem.draws.at(problem.restart, t).uniform((5 + channels,)).to(problem.x)
    signs = (drawn[:, 5:] < 0.5).to(problem.x) * 2 - 1
    top, left, other_top, other_left, turned = drawn[:, :5].unbind(1)
    return Places(top, left, other_top, other_left, turned < 0.5, signs[:, :, None, None])


def _window(x: Tensor, side: Tensor, top: Tensor, left: Tensor) -> Window:
    """The square of `side` `[B]` whose corner is drawn from [0, 1) as `top` and `left` `[B]`."""
    corner = [
        spread((draw * (length - side + 1)).long(), x)
        for draw, length in zip((top, left), x.shape[2:], strict=True)
    ]
    row = torch.arange(x.shape[2], device=x.device)[None, None, :, None] - corner[0]
    column = torch.arange(x.shape[3], device=x.device)[None, None, None] - corner[1]
    side = spread(side, x)
    return Window(row, column, (row >= 0) & (row < side) & (column >= 0) & (column < side))


# linf


def _stripes(problem: Problem) -> Tensor:
    """The start of algorithm 2: every column of every channel up or down by eps."""
    _, channels, _, width = problem.x.shape
    signs = problem.draws.at(problem.restart, 0).signs((channels, 1, width)).to(problem.x)
    return problem.project(problem.x + spread(problem.eps, problem.x) * signs)


def _flip(problem: Problem, best: Tensor, t: Tensor, p_init: float) -> Tensor:
    """One square of each channel moved to the top or to the bottom of the ball."""
    side = _sides(best, t, p_init).clamp(1, min(best.shape[2:]))
    drawn = _places(problem, t)
    inside = _window(best, side, drawn.top, drawn.left).inside
    change = 2 * spread(problem.eps, best) * drawn.signs * inside
    up = problem.project(best + change)
    idle = (up == best).flatten(1).all(1)
    return torch.where(spread(idle, best), problem.project(best - change), up)


# l2 and l1


def _pyramid(row: Tensor, column: Tensor, height: Tensor, width: Tensor, power: int) -> Tensor:
    """Equation 2: what falls with the distance from the middle of a `height` by `width` patch.

    The sum of 1/j^power from j = distance + 1 to half the longer side + 1.
    """
    distance = torch.maximum((row - height // 2).abs(), (column - width // 2).abs())
    most = torch.maximum(height, width) // 2 + 1
    table = torch.arange(max(row.shape[2], column.shape[3]) + 2, device=row.device)
    partial = (1 / table.clamp_min(1).float().pow(power) * (table > 0)).cumsum(0)
    reach = len(table) - 1
    return partial[most.clamp_max(reach)] - partial[distance.clamp_max(reach)]


def _bump(window: Window, side: Tensor, turned: Tensor, power: int) -> Tensor:
    """The patch of algorithm 3: a pyramid above its own negative, or beside it, `[B,1,H,W]`.

    Its sum of absolute values is 1.
    """
    row = torch.where(turned, window.column, window.row)
    column = torch.where(turned, window.row, window.column)
    half = side // 2
    lower = row >= half
    height = torch.where(lower, side - half, half)
    shape = _pyramid(torch.where(lower, row - half, row), column, height, side, power)
    shape = shape * window.inside
    return torch.where(lower, -shape, shape) / shape.sum((2, 3), keepdim=True).clamp_min(TINY)


def _tiles(problem: Problem) -> Tensor:
    """The start of algorithm 3: a five by five grid of patches with random signs."""
    x = problem.x
    side = max(min(x.shape[2:]) // 5, 1)
    rows, columns = x.shape[2] // side, x.shape[3] // side
    steps = torch.arange(side, device=x.device)
    ones = Window(
        steps[None, None, :, None], steps[None, None, None], torch.ones_like(x[:1, :1, :1, :1])
    )
    whole = torch.full_like(steps[:1, None, None, None], side)
    upright, turned = (
        _bump(ones, whole, torch.full_like(whole, flag, dtype=torch.bool), _fall(problem)).repeat(
            1, 1, rows, columns
        )
        for flag in (False, True)
    )
    draws = problem.draws.at(problem.restart, 0)
    signs = draws.at(0).signs((x.shape[1], rows, columns)).to(x)
    turns = draws.at(1).signs((1, rows, columns)).to(x)
    wide = [part.repeat_interleave(side, 2).repeat_interleave(side, 3) for part in (signs, turns)]
    delta = wide[0] * torch.where(wide[1] > 0, upright, turned)
    top, left = (x.shape[2] - rows * side) // 2, (x.shape[3] - columns * side) // 2
    bottom, right = x.shape[2] - rows * side - top, x.shape[3] - columns * side - left
    return _within(problem, pad(delta, (left, right, top, bottom)))


def _move_mass(problem: Problem, best: Tensor, t: Tensor, p_init: float) -> Tensor:
    """Empty one window and put its mass, and what is left of eps, into a patch in another."""
    shortest = min(best.shape[2:])
    side = _sides(best, t, p_init).clamp_min(3)
    side = (side + (side % 2 == 0)).clamp_max(shortest)
    drawn = _places(problem, t)
    window = _window(best, side, drawn.top, drawn.left)
    other = _window(best, side, drawn.other_top, drawn.other_left)
    delta = best - problem.x
    power = 1 if problem.threat.norm_name == "l1" else 2

    def mass(part: Tensor, dims: tuple[int, ...] = (2, 3)) -> Tensor:
        """The size of what lies inside."""
        return part.abs().pow(power).sum(dims, keepdim=True)

    def unit(part: Tensor) -> Tensor:
        """The same of length one."""
        return part / (mass(part) ** (1 / power) + TINY)

    bump = _bump(window, spread(side, best), spread(drawn.turned, best), _fall(problem))
    fresh = unit(unit(bump) * drawn.signs + unit(delta * window.inside))
    unspent = (spread(problem.eps, best) ** power - mass(delta, (1, 2, 3))).clamp_min(0)
    budget = mass(delta * (window.inside | other.inside)) + unspent / best.shape[1]
    budget = budget * best.shape[1] if power == 1 else budget.sqrt()
    return _within(problem, delta * ~(window.inside | other.inside) + fresh * budget)


def _fall(problem: Problem) -> int:
    """The power of the distance with which patches fall from their middle."""
    return 4 if problem.threat.norm_name == "l1" else 2


def _within(problem: Problem, delta: Tensor) -> Tensor:
    """The point at `delta`, projected in l1; in l2 stretched to length eps, and clipped.

    Clipping makes it no longer. The projection in l1 leaves only what is large.
    """
    if problem.threat.norm_name == "l1":
        return problem.project(problem.x + delta)
    factor = problem.eps / problem.threat.norm.size(delta).clamp_min(TINY)
    return (problem.x + delta * spread(factor, delta)).clamp(problem.low, problem.high)
