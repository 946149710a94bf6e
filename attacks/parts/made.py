"""Attacks under a threat without a norm: they keep what the best picture was made with."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Problem, State, begin, improved, observe
from robustkit.attacks.parts.gradient import glance
from robustkit.losses import margin
from robustkit.norms import spread


class Made(NamedTuple):
    """What the picture to look at next is made with, and the best one seen; both `[B, ...]`."""

    now: Tensor
    best: Tensor


def note_made(problem: Problem, state: State, made: Made, logits: Tensor, loss: Tensor) -> State:
    """Note what the model says at `state.x`, made with `made.now`; the memory is a `Made`."""
    better = improved(problem, state, logits, loss)
    state = observe(problem, state, logits, loss)
    best = torch.where(spread(better, made.now), made.now, made.best)
    return state._replace(memory=made._replace(best=best))


Propose = Callable[[Problem, Tensor], Tensor]
"""`propose(problem, t)`: what to make the picture with that is looked at in step `t` `[B]`."""


Make = Callable[[Problem, Tensor], Tensor]
"""`make(problem, made)`: the pictures, made without a wait for the device."""


def trying(
    name: str,
    propose: Propose,
    queries: int,
    *,
    settings: Mapping[str, Any],
    make: Make = Problem.remade,
    restarts: int = 1,
) -> Attack:
    """Look at one made picture a step, whatever came of the others; the first success counts."""

    def offered(problem: Problem, t: Tensor) -> tuple[Tensor, Tensor]:
        """What the next picture is made with, and the picture."""
        made = propose(problem, t)
        return made, make(problem, made)

    def init(problem: Problem) -> State:
        """Make the first picture."""
        made, x = offered(problem, torch.zeros_like(problem.goal.y))
        return begin(problem, x, Made(made, made))

    def step(problem: Problem, state: State) -> State:
        """Look at a picture and make the next."""
        logits, loss = glance(problem, state.x, margin)
        state = note_made(problem, state, Made(*state.memory), logits, loss)
        made, x = offered(problem, state.t + 1)
        memory = Made(made, state.memory[1])
        return state._replace(x=x, t=state.t + 1, memory=memory)

    return Attack(
        name, init, step, queries, restarts=restarts, gradient=False, settings=settings,
        made=best_made,
    )  # fmt: skip


def best_made(state: State) -> Tensor:
    """What the best picture was made with."""
    best: Tensor = state.memory[1]
    return best
