"""The loop that PGD and its relatives share: look, note, step along a direction, project."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Problem, State, begin, observe
from robustkit.attacks.parts.gradient import Source, glance, look
from robustkit.losses import Loss
from robustkit.norms import spread


def climb(
    name: str,
    *,
    source: Source,
    loss: Loss,
    random_start: bool,
    momentum: float,
    settings: Mapping[str, Any],
) -> Attack:
    """Ascent on `loss` by the gradients of `source`; `settings` has steps, step_size, restarts.

    A step_size of None is 2.5 eps / steps. With momentum mu the direction is the running sum of
    gradients divided by their mean size (Dong et al. 2018, eq. 6); a zero gradient adds nothing.
    In l1 and l2 the last look is followed by one exact linear step over the whole threat model.
    """
    steps: int = settings["steps"]
    step_size: float | None = settings["step_size"]

    def init(problem: Problem) -> State:
        start = problem.random_start() if random_start else problem.x
        return begin(problem, start, (torch.zeros_like(start),) if momentum else ())

    def step(problem: Problem, state: State) -> State:
        seen = source(problem, state)
        state = observe(problem, state, seen.logits, seen.loss)
        gradient, memory = seen.gradient, state.memory
        if momentum:
            gradient = momentum * memory[0] + unit_mean(gradient)
            memory = (gradient,)
        x = problem.project(state.x + ascent(problem, state.x, gradient, lengths(problem)))
        return state._replace(x=x, t=state.t + 1, memory=memory)

    def lengths(problem: Problem) -> Tensor:
        if step_size is None:
            return problem.eps * (2.5 / steps)
        return torch.full_like(problem.eps, step_size)

    def finish(problem: Problem, state: State) -> State:
        if problem.threat.norm_name == "linf":
            return observe(problem, state, *glance(problem, state.x, loss))
        seen = look(problem, state.x, loss)
        state = observe(problem, state, seen.logits, seen.loss)
        state = state._replace(x=problem.steepest(seen.gradient))
        return observe(problem, state, *glance(problem, state.x, loss))

    shown = {**settings, "step_size": "2.5 eps/steps" if step_size is None else step_size}
    return Attack(name, init, step, steps, finish, settings.get("restarts", 1), settings=shown)


def ascent(problem: Problem, x: Tensor, gradient: Tensor, length: Tensor) -> Tensor:
    """A step of `length` `[B]` along the steepest direction; l1 has to know the walls for it."""
    norm = problem.threat.norm
    if norm.name == "l1":
        return norm.steepest(gradient, length, (problem.low - x, problem.high - x))
    return norm.steepest(gradient, length, None)


def unit_mean(gradient: Tensor) -> Tensor:
    """The gradient divided by its mean absolute value, zeros where it is zero."""
    return gradient / spread(gradient.flatten(1).abs().mean(1).clamp_min(1e-30), gradient)
