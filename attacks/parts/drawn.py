"""A success drawn nearer to the picture, as far as it stays one."""

import torch
from torch import Tensor

from robustkit.attacks.attack import Problem, State, observe_nearest
from robustkit.attacks.parts.gradient import glance
from robustkit.attacks.parts.reach import reach
from robustkit.losses import Loss
from robustkit.norms import spread


def drawn(
    problem: Problem, state: State, aim: Tensor, loss: Loss, *, first: float, looks: int
) -> State:
    """Go from the best point towards the perturbation `aim` `[B,C,H,W]`, by bisection.

    `first` is the share of the way that is tried first, in (0, 1]; `looks` how many shares are
    tried, each a forward.
    """
    delta = state.x_adv - problem.x
    share = torch.ones(len(delta), dtype=delta.dtype, device=delta.device)
    known, tried = torch.zeros_like(share), torch.full_like(share, first)
    for _ in range(looks):
        state = state._replace(x=reach(problem, torch.lerp(delta, aim, spread(tried, delta))))
        logits, value = glance(problem, state.x, loss)
        state = observe_nearest(problem, state, logits, value)
        reached = problem.goal.reached(logits)
        known, share = torch.where(reached, tried, known), torch.where(reached, share, tried)
        tried = (known + share) / 2
    return state
