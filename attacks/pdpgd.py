"""PDPGD: the smallest perturbation as the saddle point of size and misclassification.

Matyasko & Chau 2021, arXiv 2106.01538, algorithm 1: Adam on the perturbation, a proximal step for
its size, and ascent on the weight between the two. The proximal step in Adam's metric is that of
Melchior et al. 2019, arXiv 1910.10094. Deviations: always five inner iterations, where the
original stops at a tolerance; the point after the last step is looked at too, and at the end the
best one is drawn towards the nearest point of the boundary's linearisation, as far as that succeeds
(7 forwards and 1 backward more).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Problem, State, begin, observe_nearest
from robustkit.attacks.parts.adam import Moments, adam
from robustkit.attacks.parts.drawn import gathered
from robustkit.attacks.parts.gradient import glance, look
from robustkit.attacks.parts.reach import reach
from robustkit.goal import Goal
from robustkit.losses import margin
from robustkit.norms import NORMS, TINY, spread

INNER = 5
FIRST_RATIO = 0.01
LEAST_LOG_RATIO = 13.8155  # -log(1e-6)
DUAL_DECAY = 0.9


class Memory(NamedTuple):
    """`dual` `[B]`: log of the loss's weight over the size's; `weight`: the loss's mean share."""

    moments: Moments
    dual: Tensor
    weight: Tensor


def pdpgd(*, steps: int = 500, step_size: float = 0.1, dual_step: float = 0.1) -> Attack:
    """PDPGD in l1, l2 and linf, with the published values.

    `step_size` of the perturbation falls to a hundredth of itself, `dual_step` to a tenth.

    >>> pdpgd().steps
    500
    """

    def init(problem: Problem) -> State:
        """Where a sample begins."""
        dual = torch.full_like(problem.eps, FIRST_RATIO).log().neg()
        return begin(problem, problem.x, Memory(Moments.zero(problem.x), dual, dual.sigmoid()))

    def step(problem: Problem, state: State) -> State:
        """One step of every sample."""
        moments, dual, weight = state.memory
        seen = look(problem, state.x, _softened)
        state = observe_nearest(problem, state, seen.logits, seen.loss)
        done = state.t / steps
        moments, mean, scale = adam(moments, seen.gradient, state.t)
        length = spread(step_size * 0.01**done, mean)
        moved = reach(problem, state.x - problem.x + length * mean / scale) - problem.x
        x = _smaller(problem, moved, scale, length.flatten() * (1 - weight) / weight)
        missed = torch.where(problem.goal.reached(seen.logits), -1.0, 1.0)
        dual = dual + missed * dual_step * (1 - 0.9 * done)
        dual = dual.clamp(-LEAST_LOG_RATIO, LEAST_LOG_RATIO)
        weight = DUAL_DECAY * weight + (1 - DUAL_DECAY) * dual.sigmoid()
        return state._replace(x=x, t=state.t + 1, memory=Memory(moments, dual, weight))

    def finish(problem: Problem, state: State) -> State:
        """A look at the last point, and the best one drawn nearer."""
        state = observe_nearest(problem, state, *glance(problem, state.x, _softened))
        return gathered(problem, state)

    settings = {"steps": steps, "step_size": step_size, "dual_step": dual_step}
    return Attack("pdpgd", init, step, steps, finish, minimum_norm=True, settings=settings)


def _softened(logits: Tensor, goal: Goal) -> Tensor:
    """Minus the softplus of the missing margin: pulls less and less beyond the boundary."""
    return -torch.nn.functional.softplus(-margin(logits, goal))


def _smaller(problem: Problem, delta: Tensor, scale: Tensor, price: Tensor) -> Tensor:
    """The picture that trades closeness to `delta`, in Adam's metric, against its size.

    `price` `[B]` is the step size times the ratio of the two weights.
    """
    most = scale.flatten(1).amax(1)
    metric, price = scale / spread(most, scale), price / most
    x = problem.x + delta
    for _ in range(INNER):
        ahead = x - problem.x - metric * (x - problem.x - delta)
        x = reach(problem, _proximal(problem.threat.norm_name, ahead, price))
    return x


def _proximal(norm: str, delta: Tensor, price: Tensor) -> Tensor:
    """The minimiser of |z - delta|^2 / 2 + price * size(z)."""
    if norm == "l1":
        return delta.sign() * (delta.abs() - spread(price, delta)).clamp_min(0)
    if norm == "l2":
        length = NORMS["l2"].size(delta).clamp_min(TINY)
        return delta * spread((1 - price / length).clamp_min(0), delta)
    # The level at which what sticks out sums up to the price is the highest of these candidates.
    heights = delta.flatten(1).abs().sort(1, descending=True).values
    count = torch.arange(1, heights.shape[1] + 1, device=delta.device)
    level = ((heights.cumsum(1) - price[:, None]) / count).amax(1).clamp_min(0)
    return delta.clamp(-spread(level, delta), spread(level, delta))
