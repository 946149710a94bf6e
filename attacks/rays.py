"""RayS: the smallest linf perturbation by decisions alone, along rays to the corners of the cube.

Chen & Gu 2020, arXiv 2006.12792, algorithms 1 and 2 (hierarchical search). Deviations: the first
radius is the whole range of pixels; the bisection ends at a thousandth of the range over sqrt(d),
which is the published 1e-3 where distances along a ray are measured in l2.
"""

from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Problem, State, begin, observe_nearest
from robustkit.attacks.parts.reach import reach
from robustkit.norms import spread

CLOSE = 1e-3


class Memory(NamedTuple):
    """The best direction and the tried one, of -1 and 1; all else is `[B]`.

    `radius` is where the best direction leaves the label; between `low` and `high` that of the
    tried one is sought where `seeking`; `first` is the first pixel of the block that was flipped
    last, `size` how many pixels blocks have.
    """

    best: Tensor
    tried: Tensor
    radius: Tensor
    low: Tensor
    high: Tensor
    seeking: Tensor
    first: Tensor
    size: Tensor


def rays(*, queries: int = 10000) -> Attack:
    """RayS in linf; every query is one step and one forward.

    >>> rays(queries=500).steps
    500
    """

    def init(problem: Problem) -> State:
        """Where a sample begins."""
        ones = torch.ones_like(problem.x)
        low, high = problem.threat.bounds
        span = torch.full_like(problem.eps, high - low)
        # The first query is a ray of its own; then the block of all pixels is the first flipped.
        pixels = torch.full_like(span, problem.x[0].numel()).long()
        memory = Memory(ones, ones, span, 0 * span, span, span < 0, -pixels, pixels)
        return begin(problem, reach(problem, ones * (high - low)), memory)

    def step(problem: Problem, state: State) -> State:
        """One step of every sample."""
        logits = problem.model(state.x)
        reached = problem.goal.reached(logits)
        state = observe_nearest(problem, state, logits, reached.to(state.loss))
        memory = _narrow(Memory(*state.memory), reached, _tolerance(problem))
        memory = _flip(memory, ~memory.seeking)
        radius = torch.where(memory.seeking, (memory.low + memory.high) / 2, memory.radius)
        x = reach(problem, memory.tried * spread(radius, memory.tried))
        return state._replace(x=x, t=state.t + 1, memory=memory)

    settings = {"queries": queries}
    return Attack("rays", init, step, queries, minimum_norm=True, gradient=False, settings=settings)


def _tolerance(problem: Problem) -> float:
    low, high = problem.threat.bounds
    return CLOSE * (high - low) / sqrt(problem.x[0].numel())


def _narrow(memory: Memory, reached: Tensor, tolerance: float) -> Memory:
    """Halve the bracket; a tried direction that is better at once gets one and is the best now."""
    better = ~memory.seeking & reached
    middle = (memory.low + memory.high) / 2
    low = torch.where(memory.seeking & ~reached, middle, memory.low)
    high = torch.where(memory.seeking & reached, middle, memory.high)
    low = torch.where(better, 0, low)
    high = torch.where(better, memory.radius, high)
    seeking = (memory.seeking | better) & (high - low > tolerance)
    return memory._replace(
        best=torch.where(spread(better, memory.best), memory.tried, memory.best),
        radius=torch.where(memory.seeking | better, high, memory.radius),
        low=low,
        high=high,
        seeking=seeking,
    )


def _flip(memory: Memory, due: Tensor) -> Memory:
    """Try the best direction with the next block flipped; after the last, blocks are halved."""
    pixels = memory.best[0].numel()
    first = memory.first + memory.size
    over = due & (first >= pixels)
    size = torch.where(over, (memory.size + 1) // 2, memory.size)
    first = torch.where(over, 0, torch.where(due, first, memory.first))
    place = torch.arange(pixels, device=first.device)
    inside = (place >= first[:, None]) & (place < (first + size)[:, None])
    sign = torch.where(inside, -1.0, 1.0).reshape(memory.best.shape)
    tried = torch.where(spread(due, sign), memory.best * sign, memory.tried)
    return memory._replace(tried=tried, first=first, size=size)
