"""Which wrong class a targeted restart goes for."""

from torch import Tensor

from robustkit.attacks.attack import Problem
from robustkit.goal import rivals


def likely(problem: Problem) -> Tensor:
    """The class `[B]` of this restart: the r-th most likely wrong one at the clean picture.

    With fewer wrong classes than restarts it begins again with the most likely one. A goal that
    has a target keeps it.
    """
    if problem.goal.target is not None:
        return problem.goal.target
    logits = rivals(problem.model(problem.x), problem.goal.y)
    rank = problem.restart % max(logits.shape[1] - 1, 1)
    return logits.argsort(1, descending=True)[:, rank]
