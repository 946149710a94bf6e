"""What an attack may do that ignores the budget: go anywhere inside bounds and mask."""

import torch
from torch import Tensor

from robustkit.attacks.attack import Problem


def reach(problem: Problem, delta: Tensor) -> Tensor:
    """The picture `x + delta`, kept inside bounds and mask, whatever its size."""
    moved = problem.x + delta.clamp(*problem.threat.box(problem.x))
    return moved.clamp(*problem.threat.bounds)


def movable(problem: Problem, x: Tensor, direction: Tensor) -> Tensor:
    """The direction, zero where a wall or the mask is in the way at `x`."""
    low, high = problem.threat.box(problem.x)
    delta = x - problem.x
    free = torch.where(direction > 0, delta < high, delta > low)
    return direction * free


def farthest(problem: Problem) -> Tensor:
    """The size `[B]` of the largest perturbation that bounds and mask allow."""
    low, high = problem.threat.box(problem.x)
    return problem.threat.norm.size(torch.maximum(-low, high))
