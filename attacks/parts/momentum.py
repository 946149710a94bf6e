"""Which way to step, given the gradients so far: straight, with momentum, with less variance."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robustkit.attacks.attack import Problem, State
from robustkit.attacks.parts.gradient import look
from robustkit.losses import Loss
from robustkit.norms import spread

Memory = tuple[Any, ...]


class Direction(NamedTuple):
    """`begin(x)` is the memory before the first step; `turn(problem, state, gradient)` gives the
    direction `[B,C,H,W]` to step along and the new memory. A momentum is the memory's first part.
    """  # noqa: D205 - the two functions belong into one sentence

    begin: Callable[[Tensor], Memory]
    turn: Callable[[Problem, State, Tensor], tuple[Tensor, Memory]]


def unit_mean(gradient: Tensor) -> Tensor:
    """The gradient divided by its mean absolute value, zeros where it is zero."""
    return gradient / spread(gradient.flatten(1).abs().mean(1).clamp_min(1e-30), gradient)


STRAIGHT = Direction(lambda x: (), lambda problem, state, gradient: (gradient, ()))


def heavy_ball(decay: float) -> Direction:
    """The running sum of gradients, each divided by its mean size (Dong et al. 2018, eq. 6).

    A zero gradient adds nothing, where the usual code gets NaN and never moves again.
    """

    def turn(problem: Problem, state: State, gradient: Tensor) -> tuple[Tensor, Memory]:
        """The sum so far, decayed, and the new gradient."""
        momentum = decay * state.memory[0] + unit_mean(gradient)
        return momentum, (momentum,)

    return Direction(lambda x: (torch.zeros_like(x),), turn)


def variance_tuned(decay: float, loss: Loss, *, neighbours: int, reach: float) -> Direction:
    """Momentum of gradients that are corrected by those around the last point.

    Wang & He 2021 (arXiv 2103.15571), algorithm 1: `neighbours` looks in the ball of `reach` eps.
    """

    def turn(problem: Problem, state: State, gradient: Tensor) -> tuple[Tensor, Memory]:
        """The decayed sum, and the correction for the next step."""
        momentum, variance = state.memory
        momentum = decay * momentum + unit_mean(gradient + variance)
        around = torch.zeros_like(gradient)
        for which in range(neighbours):
            draws = problem.draws.at(problem.restart, state.t, which)
            shift = problem.threat.norm.sample(state.x, reach * problem.eps, draws)
            around = around + look(problem, state.x + shift, loss).gradient / neighbours
        return momentum, (momentum, around - gradient)

    return Direction(lambda x: (torch.zeros_like(x), torch.zeros_like(x)), turn)
