"""EAD: the smallest l1 perturbation through the elastic net.

Chen et al. 2018, arXiv 1709.04114, algorithm 1 (FISTA) with the l1 decision rule: minimise
size_2^2 + beta size_1 + c f6 by a gradient step, shrinking by `beta` and momentum, and search the
weight c as Carlini & Wagner do. As in the authors' code the shrinkage is `beta` itself, not `beta`
times the step, and steps fall with the square root of what is left of a round. Deviations: success
is judged where the gradient is taken, at the point with momentum, at no extra forward; every
sample searches and aborts for itself; and at the end the best point is drawn towards the point that
l1 would choose if the model were linear there, as far as that succeeds: what the l2 term has spread
over many pixels comes together in few (7 forwards and 1 backward more).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Problem, State, begin, observe_nearest
from robustkit.attacks.parts.drawn import gathered
from robustkit.attacks.parts.gradient import glance, look
from robustkit.attacks.parts.penalty import Search, bisect, hinge, note
from robustkit.attacks.parts.reach import reach
from robustkit.norms import spread


class Memory(NamedTuple):
    """The last point without momentum, and the search for the weight."""

    last: Tensor
    search: Search


def ead(
    *,
    steps: int = 9000,
    rounds: int = 9,
    step_size: float = 0.01,
    beta: float = 0.01,
    weight: float = 1e-3,
) -> Attack:
    """The elastic-net attack in l1.

    `steps` is the budget of all rounds, published: 9 of 1000. `beta` is how much l1 counts against
    l2 (published: 1e-3 to 1e-1; a large one leads to a smaller l1 size on linear models and misses
    it on deep ones, as every step shrinks by all of it), `weight` the first constant c.

    >>> ead().steps
    9000
    """
    length = max(steps // rounds, 1)

    def init(problem: Problem) -> State:
        """Where a sample begins."""
        return begin(problem, problem.x, Memory(problem.x, Search.first(weight, problem.eps)))

    def step(problem: Problem, state: State) -> State:
        """One step of every sample."""
        last, search = state.memory
        seen = look(problem, state.x, hinge)
        state = observe_nearest(problem, state, seen.logits, seen.loss)
        # A sample that is finished, and stepped on nevertheless, may stand outside of its round.
        delta, done = state.x - problem.x, (state.t - search.begun).clamp(0, length)
        slope = 2 * delta - spread(search.weight, delta) * seen.gradient
        ahead = delta - slope * spread(step_size * (1 - done / length).sqrt(), delta)
        x = reach(problem, ahead.sign() * (ahead.abs() - beta).clamp_min(0))
        pulled = reach(problem, x - problem.x + (x - last) * spread(done / (done + 3), delta))
        objective = _elastic(delta, beta) - search.weight * seen.loss
        reached = problem.goal.reached(seen.logits)
        search, over = note(search, reached, objective, state.t, length)
        search = bisect(search, over, state.t)
        fresh = spread(over, x)
        return state._replace(
            x=torch.where(fresh, problem.x, pulled),
            t=torch.where(search.rounds >= rounds, steps, state.t + 1),
            memory=Memory(torch.where(fresh, problem.x, x), search),
        )

    def finish(problem: Problem, state: State) -> State:
        """A look at the last point, and the best one drawn together."""
        state = observe_nearest(problem, state, *glance(problem, state.x, hinge))
        return gathered(problem, state)

    settings = {
        "steps": steps, "rounds": rounds, "step_size": step_size, "beta": beta, "weight": weight
    }  # fmt: skip
    return Attack("ead", init, step, steps, finish, minimum_norm=True, settings=settings)


def _elastic(delta: Tensor, beta: float) -> Tensor:
    """Squared l2 size and beta times l1 size, `[B]`."""
    return (delta.square() + beta * delta.abs()).flatten(1).sum(1)
