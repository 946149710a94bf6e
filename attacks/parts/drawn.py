"""A success drawn nearer to the picture, as far as it stays one."""

import torch
from torch import Tensor

from robustkit.attacks.attack import Problem, State, observe_nearest
from robustkit.attacks.parts.gradient import glance, look
from robustkit.attacks.parts.hyperplane import onto_hyperplane
from robustkit.attacks.parts.reach import reach
from robustkit.losses import Loss, margin
from robustkit.norms import spread

BEYOND = 1e-4
"""How far beyond the boundary the linear answer is placed, as a share of the way."""
LOOKS = 6
"""How many shares of the way are tried."""


def drawn(problem: Problem, state: State, aim: Tensor, loss: Loss, *, first: float) -> State:
    """Go from the best point towards the perturbation `aim` `[B,C,H,W]`, by bisection.

    `first` is the share of the way that is tried first, in (0, 1]; `LOOKS` are, each a forward.
    """
    delta = state.x_adv - problem.x
    share = torch.ones(len(delta), dtype=delta.dtype, device=delta.device)
    known, tried = torch.zeros_like(share), torch.full_like(share, first)
    for _ in range(LOOKS):
        state = state._replace(x=reach(problem, torch.lerp(delta, aim, spread(tried, delta))))
        logits, value = glance(problem, state.x, loss)
        state = observe_nearest(problem, state, logits, value)
        reached = problem.goal.reached(logits)
        known, share = torch.where(reached, tried, known), torch.where(reached, share, tried)
        tried = (known + share) / 2
    return state


def gathered(problem: Problem, state: State) -> State:
    """Go from the best point towards the one that l1, l2 or linf would choose on a flat boundary.

    What a penalty has spread over many pixels, or left beyond the boundary, is saved: exactly where
    the model is linear, as far as bisection shows a success elsewhere. 7 forwards and 1 backward.
    """
    seen = look(problem, state.x_adv, margin)
    delta = state.x_adv - problem.x
    rise = (seen.gradient * delta).flatten(1).sum(1) - seen.loss
    aim = rise.nan_to_num(0.0).clamp_min(0) * (1 + BEYOND)
    box = problem.threat.box(problem.x)
    nearest = onto_hyperplane(problem.threat.norm_name, seen.gradient, aim, box)
    return drawn(problem, state, nearest, margin, first=1.0)
