"""The loop that PGD and its relatives share: look, note, turn, step, project."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Problem, State, begin, observe
from robustkit.attacks.parts.gradient import Source, glance, look
from robustkit.attacks.parts.momentum import STRAIGHT, Direction
from robustkit.losses import LOSSES, Loss


def climb(
    name: str,
    source: Source,
    *,
    direction: Direction = STRAIGHT,
    random_start: bool = False,
    settings: Mapping[str, Any],
) -> Attack:
    """Ascent by the gradients of `source`; `settings` has steps, step_size, loss, restarts.

    It ends with `last_look`.
    """
    steps, step_size, loss = settings["steps"], settings["step_size"], LOSSES[settings["loss"]]
    length = lengths(steps, step_size)

    def init(problem: Problem) -> State:
        """Begin at the picture or at random."""
        start = problem.random_start() if random_start else problem.x
        return begin(problem, start, direction.begin(start))

    def step(problem: Problem, state: State) -> State:
        """Look, note, turn, step, project."""
        seen = source(problem, state)
        state = observe(problem, state, seen.logits, seen.loss)
        way, memory = direction.turn(problem, state, seen.gradient)
        x = problem.project(ascent(problem, state.x, way, length(problem)).add_(state.x))
        return state._replace(x=x, t=state.t + 1, memory=memory)

    def finish(problem: Problem, state: State) -> State:
        """Look at the last point."""
        return last_look(problem, state, loss)

    shown = {**settings, "step_size": "2.5 eps/steps" if step_size is None else step_size}
    return Attack(name, init, step, steps, finish, settings.get("restarts", 1), settings=shown)


def last_look(problem: Problem, state: State, loss: Loss) -> State:
    """Look at the last point; in l1 and l2 also at the end of one exact linear step from there.

    Small steps creep along the surface of a round or pointed ball; that step crosses it, so that a
    linear model is solved exactly.
    """
    if problem.threat.norm_name == "linf":
        return observe(problem, state, *glance(problem, state.x, loss))
    seen = look(problem, state.x, loss)
    state = observe(problem, state, seen.logits, seen.loss)
    state = state._replace(x=problem.steepest(seen.gradient))
    return observe(problem, state, *glance(problem, state.x, loss))


def lengths(steps: int, step_size: float | None) -> Callable[[Problem], Tensor]:
    """The length `[B]` of a step: `step_size` in pixel units; without it, 2.5 eps / steps."""
    if step_size is None:
        return lambda problem: problem.eps * (2.5 / steps)
    return lambda problem: torch.full_like(problem.eps, step_size)


def ascent(problem: Problem, x: Tensor, gradient: Tensor, length: Tensor) -> Tensor:
    """A step of `length` `[B]` along the steepest direction; l1 has to know the walls for it."""
    norm = problem.threat.norm
    box = (problem.low - x, problem.high - x) if norm.name == "l1" else None
    return norm.steepest(gradient, length, box)
