"""Which wrong class a targeted restart goes for."""

from torch import Tensor

from robustkit.attacks.attack import Problem
from robustkit.goal import rivals


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
