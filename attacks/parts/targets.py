"""Which wrong class a targeted restart goes for, and how far it is."""

import torch
from torch import Tensor

from robustkit.attacks.attack import Problem
from robustkit.goal import Goal, rivals
from robustkit.losses import Loss, margin


def likely(problem: Problem) -> tuple[Tensor, int]:
    """The class `[B]` of this restart, and how often the classes have been gone through before.

    Restart r takes the r-th most likely wrong class at the clean picture; after the last one it
    begins again with the first. A goal that has a target keeps it.
    """
    if problem.goal.target is not None:
        return problem.goal.target, problem.restart
    logits = rivals(problem.goal.classes(problem.model(problem.x)), problem.goal.y)
    again, rank = divmod(problem.restart, max(logits.shape[1] - 1, 1))
    return logits.argsort(1, descending=True)[:, rank], again


def gap(target: Tensor) -> Loss:
    """By how much the logit of `target` `[B]` exceeds the true label's.

    For a goal that has a target it is the margin, which is positive where that is reached.
    """

    def difference(logits: Tensor, goal: Goal) -> Tensor:
        """The difference of two logits, `[B]`."""
        if goal.target is not None:
            return margin(logits, goal)
        ends = torch.stack((goal.y, target), 1)
        return goal.classes(logits).gather(1, ends).diff(dim=1).squeeze(1)

    return difference
