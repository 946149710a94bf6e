"""FMN: a ball around the picture that finds the radius of the closest error.

Pintor et al. 2021, arXiv 2102.12827, algorithm 1. Deviations: the projection is the nearest point
of ball *and* walls, except in l0; in l2 (as published) and in l1 a point inside the ball is moved
out to its surface first; until a success the radius is 0.1 % beyond the estimated boundary; in linf
the step begins at 60 (published implementations: 10), so that at first nearly every pixel reaches a
wall of the ball, which finds more and nearer errors where gradients mislead; the point after the
last step is looked at.
"""

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Problem, State, begin, observe_nearest
from robustkit.attacks.parts.gradient import Look, glance, look
from robustkit.attacks.parts.reach import farthest, reach
from robustkit.attacks.parts.schedule import cosine
from robustkit.losses import margin
from robustkit.norms import NORMS, TINY, Box, spread

# By this factor the first ball is larger than the linearisation says, or rounding might end every
# step on the boundary itself.
BEYOND = 1.001
# The dual norm measures the gradient: how fast the loss can rise within a ball.
DUAL = {"l1": "linf", "l2": "l2", "linf": "l1"}


def fmn(*, steps: int = 1000, step_size: float | None = None, gamma: float = 0.05) -> Attack:
    """The fast minimum-norm attack in l0, l1, l2 and linf.

    The step falls from `step_size` (1; in linf 60) to a hundredth of it, and the share `gamma` by
    which the radius changes to a fiftieth, both along a cosine. Published: 100 to 1000 steps.

    >>> fmn(steps=100).steps
    100
    """

    def init(problem: Problem) -> State:
        """Where a sample begins."""
        first = 1.0 if problem.threat.norm_name == "l0" else torch.inf
        return begin(problem, problem.x, (torch.full_like(problem.eps, first),))

    def step(problem: Problem, state: State) -> State:
        """One step of every sample."""
        norm = problem.threat.norm
        usual = 60.0 if norm.name == "linf" else 1.0
        longest = usual if step_size is None else step_size
        seen = look(problem, state.x, margin)
        state = observe_nearest(problem, state, seen.logits, seen.loss)
        share = cosine(state.t, steps, gamma, gamma / 50)
        radius = _radius(problem, state, seen, share)
        length = cosine(state.t, steps, longest, longest / 100)
        slope = NORMS["l2"].size(seen.gradient).clamp_min(TINY)
        ahead = state.x - problem.x + seen.gradient * spread(length / slope, seen.gradient)
        delta = norm.project(_outward(problem, ahead, radius), radius, _box(problem))
        return state._replace(x=reach(problem, delta), t=state.t + 1, memory=(radius,))

    def finish(problem: Problem, state: State) -> State:
        """A look at the last point."""
        return observe_nearest(problem, state, *glance(problem, state.x, margin))

    settings = {"steps": steps, "step_size": step_size, "gamma": gamma}
    return Attack("fmn", init, step, steps, finish, minimum_norm=True, settings=settings)


def _outward(problem: Problem, delta: Tensor, radius: Tensor) -> Tensor:
    """In l1 and l2 the change `[B,C,H,W]`, no shorter than the radius; else the change itself.

    A ball that has grown is of use only to who goes to its surface: without, one in three samples
    of a network with misleading gradients was left without an error.
    """
    norm = problem.threat.norm
    if norm.name not in ("l1", "l2"):
        return delta
    longer = (radius / norm.size(delta).clamp_min(TINY)).clamp_min(1.0)
    return delta * spread(longer, delta)


def _box(problem: Problem) -> Box:
    """What projecting keeps to: ball and walls at once, but in l0 the mask alone.

    The l0 ball keeps the longest ways as they are published: the nearest point drops values that a
    wall stops short, which are back a step later, and after 100 steps has an eighth more of them.
    """
    low, high = problem.threat.box(problem.x)
    if problem.threat.norm_name != "l0":
        return low, high
    free = torch.where(high > low, torch.inf, 0.0)
    return -free, free


def _radius(problem: Problem, state: State, seen: Look, share: Tensor) -> Tensor:
    """The new radius `[B]`: smaller inside the error region, larger outside.

    Until something is found it is as far as the linearised boundary; in l0 it changes by one pixel
    at least.
    """
    (radius,) = state.memory
    norm = problem.threat.norm
    hit = problem.goal.reached(seen.logits)
    if norm.name == "l0":
        smaller = torch.minimum(radius - 1, (radius * (1 - share)).floor())
        larger = torch.maximum(radius + 1, (radius * (1 + share)).floor())
    else:
        slope = NORMS[DUAL[norm.name]].size(seen.gradient).clamp_min(TINY)
        missing = seen.loss.nan_to_num(0.0, 0.0, 0.0).abs() / slope
        smaller = radius * (1 - share)
        larger = (norm.size(state.x - problem.x) + missing) * BEYOND
        larger = torch.where(state.fooled, radius * (1 + share), larger)
    new = torch.where(hit, torch.minimum(smaller, state.size), larger)
    return torch.minimum(new.clamp_min(0), farthest(problem))
