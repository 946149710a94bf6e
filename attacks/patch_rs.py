"""A patch for each picture from queries alone: random search over its place and its colours.

Sparse-RS for image-specific patches (Croce et al. 2022, arXiv 2006.12834, algorithm 1 and section
5): every sixth query tries another place, the others a square of one corner colour inside the
patch; what does not raise the loss is undone. Deviations: the square's share of the patch is 0.4,
halved on the schedule of Square Attack rescaled to the queries at hand; the reach of a move shrinks
linearly from the whole picture to one pixel, and a move uncovers other paint instead of shifting
what there is, so that small moves keep what was learnt; the first sixth of the queries looks at
other patches in other places, since a patch that fits its place hardly ever leaves it.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Problem, State, begin, choose_rows, observe
from robustkit.attacks.parts.gradient import glance
from robustkit.attacks.square import HALVINGS
from robustkit.draws import Draws
from robustkit.losses import LOSSES
from robustkit.precision import exact
from robustkit.rectangle import Rectangle, drawn_place

SHARE = 0.4
"""The share of the patch that the first squares cover."""
TURN = 6
"""One query in so many moves the patch."""
OPENING = 6
"""The share of the queries that begin anew, as one part in so many."""


class Candidate(NamedTuple):
    """The patch is what `paint` `[B,C,H,W]`, as large as the picture, shows at `place`."""

    paint: Tensor
    place: Rectangle


def patch_rs(*, queries: int = 5000, restarts: int = 1, loss: str = "margin") -> Attack:
    """Sparse-RS patches; every query is one step and one forward. Norm: patch.

    >>> patch_rs(queries=100).gradient
    False
    """
    score = LOSSES[loss]

    def init(problem: Problem) -> State:
        """Where a sample begins."""
        first = _drawn(problem, problem.draws.at(problem.restart, 0))
        return begin(problem, _painted(problem, first), (first, first))

    def step(problem: Problem, state: State) -> State:
        """One step of every sample."""
        logits, value = glance(problem, state.x, score)
        best = choose_rows(value > state.loss, state.memory[1], state.memory[0])
        state = observe(problem, state, logits, value)
        t = state.t + 1
        moved = _moved(problem, best, t, queries)
        child = choose_rows(t % TURN == 0, moved, _recoloured(problem, best, t, queries))
        fresh = _drawn(problem, problem.draws.at(problem.restart, t, 3))
        child = choose_rows(t < queries // OPENING, fresh, child)
        return state._replace(x=_painted(problem, child), t=t, memory=(best, child))

    settings = {"queries": queries, "restarts": restarts, "loss": loss}
    return Attack(
        "patch-rs", init, step, queries, restarts=restarts, gradient=False, settings=settings
    )


def _drawn(problem: Problem, draws: Draws) -> Candidate:
    """A patch of random corner colours in a random place."""
    place = drawn_place(problem.x, problem.eps, draws.at(0), problem.threat.shape)
    return Candidate(_corners(problem, draws.at(1).signs(problem.x.shape[1:])), place)


def _corners(problem: Problem, signs: Tensor) -> Tensor:
    """The highest value of a pixel where a sign is positive, else the lowest."""
    low, high = problem.threat.bounds
    return torch.where(signs > 0, high, low).to(problem.x)


def _painted(problem: Problem, candidate: Candidate) -> Tensor:
    """The picture with the patch on it, as far as the mask allows."""
    paint = candidate.paint.clamp(problem.low, problem.high)
    return torch.where(candidate.place.mask(paint), paint, problem.x)


def _moved(problem: Problem, best: Candidate, t: Tensor, queries: int) -> Candidate:
    """The same paint seen in another place."""
    high, wide = problem.x.shape[2:]
    drawn = 2 * problem.draws.at(problem.restart, t, 0).uniform((2,)) - 1
    reach = (max(high, wide) * (1 - t / queries)).clamp_min(1)
    shift = (drawn * (reach[:, None] + 0.5)).round().long()
    place = best.place
    top = torch.minimum((place.top + shift[:, 0]).clamp_min(0), high - place.height)
    left = torch.minimum((place.left + shift[:, 1]).clamp_min(0), wide - place.width)
    return best._replace(place=place._replace(top=top, left=left))


def _recoloured(problem: Problem, best: Candidate, t: Tensor, queries: int) -> Candidate:
    """The same place with a square of one colour in it."""
    draws = problem.draws.at(problem.restart, t)
    height, width = best.place.height, best.place.width
    schedule = [mark * queries / 10000 for mark in HALVINGS]
    halved = sum(exact(t > mark) for mark in schedule)
    side = (SHARE * 0.5**halved * height * width).sqrt().round().long().clamp_min(1)
    side = torch.minimum(side, torch.minimum(height, width))
    drawn = exact(draws.at(1).uniform((2,)))
    top = best.place.top + (drawn[:, 0] * (height - side + 1)).long()
    left = best.place.left + (drawn[:, 1] * (width - side + 1)).long()
    colour = _corners(problem, draws.at(2).signs((problem.x.shape[1],)))
    square = Rectangle(top, left, side, side).mask(best.paint)
    return best._replace(paint=torch.where(square, colour[:, :, None, None], best.paint))
