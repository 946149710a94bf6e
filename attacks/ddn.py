"""DDN: walk on a sphere whose radius shrinks inside the error region and grows outside.

Rony et al. 2019, arXiv 1811.09600, algorithm 1. Deviations: no rounding to 256 levels; the loss is
the log odds, whose gradient has cross-entropy's direction and does not vanish, and in the second
half of the steps the margin, which points straight at the boundary where other classes pull
cross-entropy aside; the point after the last step is looked at too.
"""

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Problem, State, begin, observe_nearest
from robustkit.attacks.parts.gradient import glance, look
from robustkit.attacks.parts.reach import reach
from robustkit.attacks.parts.schedule import cosine
from robustkit.goal import Goal
from robustkit.losses import log_odds, margin
from robustkit.norms import NORMS, TINY, spread


def ddn(
    *,
    steps: int = 1000,
    step_size: float = 1.0,
    gamma: float = 0.05,
    radius: float = 1.0,
) -> Attack:
    """The decoupled direction and norm attack, in l2.

    The step in direction falls from `step_size` to 0.01 along a cosine; the norm begins at
    `radius` and changes by the share `gamma` a step. Published: 100 to 1000 steps.

    >>> ddn(steps=100).settings["gamma"]
    0.05
    """

    def init(problem: Problem) -> State:
        """Where a sample begins."""
        return begin(problem, problem.x, (torch.full_like(problem.eps, radius),))

    def step(problem: Problem, state: State) -> State:
        """One step of every sample."""
        (norm,) = state.memory
        late = 2 * state.t >= steps

        def score(logits: Tensor, goal: Goal) -> Tensor:
            """The margin in the second half, the log odds before."""
            return torch.where(late, margin(logits, goal), log_odds(logits, goal))

        seen = look(problem, state.x, score)
        state = observe_nearest(problem, state, seen.logits, seen.loss)
        hit = problem.goal.reached(seen.logits)
        norm = torch.where(state.t == 0, norm, norm * torch.where(hit, 1 - gamma, 1 + gamma))
        length = cosine(state.t, steps, step_size, 0.01)
        unit = _unit(_alive(problem, state, seen.gradient))
        delta = state.x - problem.x + unit * spread(length, unit)
        moved = reach(problem, _unit(delta) * spread(norm, delta))
        return state._replace(x=moved, t=state.t + 1, memory=(norm,))

    def finish(problem: Problem, state: State) -> State:
        """A look at the last point."""
        return observe_nearest(problem, state, *glance(problem, state.x, margin))

    settings = {"steps": steps, "step_size": step_size, "gamma": gamma, "radius": radius}
    return Attack("ddn", init, step, steps, finish, minimum_norm=True, settings=settings)


def _unit(direction: Tensor) -> Tensor:
    return direction / spread(NORMS["l2"].size(direction).clamp_min(TINY), direction)


def _alive(problem: Problem, state: State, gradient: Tensor) -> Tensor:
    """The gradient, or a random direction where there is none, as in the authors' code."""
    drawn = problem.draws.at(state.t).normal(gradient.shape[1:]).to(gradient)
    dead = NORMS["l2"].size(gradient) < 1e-12
    return torch.where(spread(dead, gradient), drawn, gradient)
