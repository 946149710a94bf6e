"""Where attacks begin that see decisions only: at a picture that the model gets wrong."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from robustkit.attacks.attack import Problem
from robustkit.attacks.parts.reach import reach
from robustkit.norms import spread

COARSE = 4


def noise(problem: Problem, attempt: Tensor) -> Tensor:
    """A random picture inside bounds and mask, another one for every `attempt` `[B]`.

    Even attempts draw every pixel; odd ones a coarse grid of colours, for models to which all
    fine noise looks the same.
    """
    low, high = problem.threat.bounds
    draws = problem.draws.at(problem.restart, attempt, 0)
    fine = draws.uniform(problem.x.shape[1:]).to(problem.x)
    grid = draws.at(1).uniform((problem.x.shape[1], COARSE, COARSE)).to(problem.x)
    coarse = interpolate(grid, problem.x.shape[2:])
    drawn = torch.where(spread(attempt % 2 == 0, fine), fine, coarse)
    return reach(problem, low + (high - low) * drawn - problem.x)
