"""Sigma-zero: few pixels, by descent on a smooth count of them.

Cina et al. 2025, arXiv 2402.01879, algorithm 1. Deviations: the point after the last step is
looked at too; a target is a goal like any other.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Problem, State, begin, observe_nearest
from robustkit.attacks.parts.adam import Moments, adam
from robustkit.attacks.parts.gradient import glance, look
from robustkit.attacks.parts.reach import reach
from robustkit.attacks.parts.schedule import cosine
from robustkit.goal import Goal
from robustkit.losses import margin
from robustkit.norms import TINY, spread


class Memory(NamedTuple):
    """`threshold` `[B]`: what is smaller becomes zero; it rises while the goal is reached."""

    moments: Moments
    threshold: Tensor


def sigma_zero(
    *,
    steps: int = 1000,
    step_size: float = 1.0,
    sigma: float = 1e-3,
    threshold: float = 0.3,
    threshold_step: float = 0.01,
) -> Attack:
    """Sigma-zero in l0, with the published values.

    `sigma` is how sharp the smooth count is, `threshold` the smallest change of a pixel at first,
    `threshold_step` by which share of the step size it moves.

    >>> sigma_zero().steps
    1000
    """

    def init(problem: Problem) -> State:
        """Where a sample begins."""
        least = torch.full_like(problem.eps, threshold)
        return begin(problem, problem.x, Memory(Moments.zero(problem.x), least))

    def step(problem: Problem, state: State) -> State:
        """One step of every sample."""
        moments, least = state.memory
        seen = look(problem, state.x, _shortfall)
        state = observe_nearest(problem, state, seen.logits, seen.loss)
        delta = state.x - problem.x
        gradient = _unit(_rise(delta, sigma) - seen.gradient)
        moments, mean, scale = adam(moments, gradient, state.t)
        length = cosine(state.t, steps, step_size, step_size / 10)
        moved = reach(problem, delta - mean / scale * spread(length, delta)) - problem.x
        change = torch.where(problem.goal.reached(seen.logits), length, -length)
        least = (least + threshold_step * change).clamp(0, 1)
        delta = moved * (moved.abs() >= spread(least, moved))
        return state._replace(x=reach(problem, delta), t=state.t + 1, memory=Memory(moments, least))

    def finish(problem: Problem, state: State) -> State:
        """A look at the last point."""
        return observe_nearest(problem, state, *glance(problem, state.x, _shortfall))

    settings = {
        "steps": steps, "step_size": step_size, "sigma": sigma, "threshold": threshold,
        "threshold_step": threshold_step,
    }  # fmt: skip
    return Attack("sigma-zero", init, step, steps, finish, minimum_norm=True, settings=settings)


def _shortfall(logits: Tensor, goal: Goal) -> Tensor:
    """The margin where the goal is missed, else zero: a success pulls no more."""
    return margin(logits, goal).clamp_max(0)


def _rise(delta: Tensor, sigma: float) -> Tensor:
    """The gradient of the smooth count, the mean of delta^2 / (delta^2 + sigma)."""
    return 2 * sigma * delta / (delta.square() + sigma).square() / delta[0].numel()


def _unit(gradient: Tensor) -> Tensor:
    """The gradient with its largest component at one."""
    return gradient / spread(gradient.flatten(1).abs().amax(1).clamp_min(TINY), gradient)
