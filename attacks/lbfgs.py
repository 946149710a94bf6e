"""L-BFGS: the attack that found adversarial examples, and turned the school bus into an ostrich.

Szegedy et al. 2014, arXiv 1312.6199, section 4.1: minimise the size plus c times the loss inside
the box, for the smallest c that fools the model. The minimiser is projected L-BFGS (Nocedal 1980;
two-metric projection after Bertsekas 1982) with halving steps, every sample for itself. Deviations:
the size is squared; c is searched as Carlini & Wagner do; the loss is the cross-entropy between the
label and its strongest rival, because other classes pull the closest point aside; it works without
a target too.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.attacks.attack import (
    Attack,
    Problem,
    State,
    begin,
    choose_rows,
    observe_nearest,
)
from robustkit.attacks.parts.gradient import glance, look
from robustkit.attacks.parts.penalty import Search, bisect, note
from robustkit.attacks.parts.reach import reach
from robustkit.goal import Goal
from robustkit.losses import margin
from robustkit.norms import TINY, spread

# How many pairs of moves and changes of the gradient are remembered.
PAIRS = 5
# An accepted step lowers the objective by this share of what its slope promised.
ENOUGH = 1e-4


class Descent(NamedTuple):
    """One minimisation: the accepted perturbation, its objective and gradient, and the search.

    `moves` and `changes` `[B, PAIRS, D]` are the last steps and what they did to the gradient;
    `way` is the direction that is being tried, `share` `[B]` how much of it.
    """

    delta: Tensor
    value: Tensor
    slope: Tensor
    moves: Tensor
    changes: Tensor
    way: Tensor
    share: Tensor

    @classmethod
    def fresh(cls, x: Tensor) -> "Descent":
        """Before the first look, which is accepted whatever it says."""
        flat = torch.zeros_like(x.flatten(1))
        pairs = flat[:, None].repeat(1, PAIRS, 1)
        value = torch.full_like(flat[:, 0], torch.inf)
        return cls(flat, value, flat, pairs, pairs, flat, torch.ones_like(value))


def lbfgs(*, steps: int = 1000, rounds: int = 10, weight: float = 0.1) -> Attack:
    """Box-constrained L-BFGS in l2, batched.

    `steps` is the budget of all `rounds`, each with another c, the first of which is `weight`.

    >>> lbfgs().minimum_norm
    True
    """
    length = max(steps // rounds, 1)

    def init(problem: Problem) -> State:
        """Where a sample begins."""
        memory = Descent.fresh(problem.x), Search.first(weight, problem.eps)
        return begin(problem, problem.x, memory)

    def step(problem: Problem, state: State) -> State:
        """One step of every sample."""
        descent, search = state.memory
        seen = look(problem, state.x, _pull)
        state = observe_nearest(problem, state, seen.logits, seen.loss)
        delta = (state.x - problem.x).flatten(1)
        pull = seen.loss.nan_to_num(0.0, 0.0, 0.0)
        value = delta.square().sum(1) - search.weight * pull
        slope = 2 * delta - search.weight[:, None] * seen.gradient.flatten(1)
        descent = _descend(problem, descent, delta, value, slope)
        hit = problem.goal.reached(seen.logits)
        search, over = note(search, hit, descent.value, state.t, length)
        search = bisect(search, over, state.t)
        descent = choose_rows(over, Descent.fresh(problem.x), descent)
        ahead = descent.delta + descent.share[:, None] * descent.way
        return state._replace(
            x=reach(problem, ahead.reshape(problem.x.shape)),
            t=torch.where(search.rounds >= rounds, steps, state.t + 1),
            memory=(descent, search),
        )

    def finish(problem: Problem, state: State) -> State:
        """A look at the last point."""
        return observe_nearest(problem, state, *glance(problem, state.x, _pull))

    settings = {"steps": steps, "rounds": rounds, "weight": weight}
    return Attack("lbfgs", init, step, steps, finish, minimum_norm=True, settings=settings)


def _pull(logits: Tensor, goal: Goal) -> Tensor:
    """Log of the probability of a success, the label and its strongest rival alone considered."""
    return torch.nn.functional.logsigmoid(margin(logits, goal))


def _descend(
    problem: Problem, descent: Descent, delta: Tensor, value: Tensor, slope: Tensor
) -> Descent:
    """Accept the point looked at and choose a new way, or try half of the old one."""
    move, change = delta - descent.delta, slope - descent.slope
    promised = (descent.slope * move).sum(1)
    first = descent.value.isinf()
    good = first | (value <= descent.value + ENOUGH * promised)
    curved = good & ~first & ((move * change).sum(1) > 1e-12)
    moves = torch.cat((descent.moves[:, 1:], move[:, None]), 1)
    changes = torch.cat((descent.changes[:, 1:], change[:, None]), 1)
    moves = torch.where(spread(curved, moves), moves, descent.moves)
    changes = torch.where(spread(curved, changes), changes, descent.changes)
    way = _way(problem, delta, slope, moves, changes)
    one = torch.ones_like(value)
    accepted = Descent(delta, value, slope, moves, changes, way, one)
    chosen: Descent = choose_rows(good, accepted, descent._replace(share=descent.share / 2))
    return chosen


def _way(problem: Problem, delta: Tensor, slope: Tensor, moves: Tensor, changes: Tensor) -> Tensor:
    """Minus the inverse curvature times the gradient, on the pixels that no wall holds back."""
    low, high = (wall.flatten(1) for wall in problem.threat.box(problem.x))
    free = torch.where(slope > 0, delta > low, delta < high).to(slope)
    moves, changes = moves * free[:, None], changes * free[:, None]
    products = (moves * changes).sum(2)
    inverse = torch.where(products > 1e-12, 1 / products.clamp_min(1e-12), 0.0)
    way, taken = slope * free, []
    for pair in reversed(range(PAIRS)):
        taken.append(inverse[:, pair] * (moves[:, pair] * way).sum(1))
        way = way - taken[-1][:, None] * changes[:, pair]
    # Without pairs the curvature is that of the squared size, two.
    square = changes[:, -1].square().sum(1)
    scale = torch.where(products[:, -1] > 1e-12, products[:, -1] / square.clamp_min(TINY), 0.5)
    way = way * scale[:, None]
    for pair in range(PAIRS):
        back = inverse[:, pair] * (changes[:, pair] * way).sum(1)
        way = way + (taken[PAIRS - 1 - pair] - back)[:, None] * moves[:, pair]
    downhill = (way * slope).sum(1, keepdim=True) > 0
    way = torch.where(downhill, way, slope / 2) * free
    # No single step crosses the picture.
    longest = torch.linalg.vector_norm(way, dim=1, keepdim=True)
    bounded: Tensor = -way / longest.clamp_min(1.0)
    return bounded
