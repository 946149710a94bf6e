"""Ascent without gradients: they are estimated from pairs of queries on either side of a point."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Problem, State, begin, observe
from robustkit.attacks.parts.gradient import glance
from robustkit.attacks.parts.momentum import Direction
from robustkit.attacks.parts.reach import reach
from robustkit.draws import Draws
from robustkit.errors import UserError
from robustkit.losses import LOSSES, Loss
from robustkit.norms import spread

Noise = Callable[[Draws, tuple[int, ...]], Tensor]


def probing(
    name: str, *, noise: Noise, direction: Direction, steps: int, settings: Mapping[str, Any]
) -> Attack:
    """Look, estimate, turn, project; `direction` gives the step itself, its length included.

    `settings` has samples (the queries of one estimate), radius and loss. With the look that
    judges the point, and the last one, the queries are `steps * (samples + 1) + 1`.
    """
    loss = LOSSES[settings["loss"]]
    pairs, radius = settings["samples"] // 2, settings["radius"]

    def init(problem: Problem) -> State:
        """Where a sample begins."""
        return begin(problem, problem.x, direction.begin(problem.x))

    def step(problem: Problem, state: State) -> State:
        """One step of every sample."""
        state = observe(problem, state, *glance(problem, state.x, loss))
        gradient = torch.zeros_like(state.x)
        for pair in range(pairs):
            draws = problem.draws.at(problem.restart, state.t, pair)
            drawn = noise(draws, problem.x.shape[1:]).to(state.x)
            gradient = gradient + _slope(problem, state.x, radius * drawn, loss) * drawn
        way, memory = direction.turn(problem, state, gradient / (2 * radius * pairs))
        return state._replace(x=problem.project(state.x + way), t=state.t + 1, memory=memory)

    def finish(problem: Problem, state: State) -> State:
        """A look at the last point."""
        return observe(problem, state, *glance(problem, state.x, loss))

    return Attack(name, init, step, steps, finish, gradient=False, settings=settings)


def _slope(problem: Problem, x: Tensor, shift: Tensor, loss: Loss) -> Tensor:
    """What the loss gains from one side of `x` to the other, `[B,1,1,1]`; never out of bounds."""
    delta = x - problem.x
    above = glance(problem, reach(problem, delta + shift), loss)[1]
    below = glance(problem, reach(problem, delta - shift), loss)[1]
    return spread(above - below, x).nan_to_num(0.0, 0.0, 0.0)


def steps_within(queries: int, samples: int) -> int:
    """How many estimates of `samples` queries fit; raises UserError if none or they are odd."""
    steps = (queries - 1) // (samples + 1)
    if samples < 2 or samples % 2 or steps < 1:
        raise UserError(
            "an even number of samples, and at least samples + 2 queries",
            f"samples={samples}, queries={queries}",
            "give more queries or fewer samples",
        )
    return steps
