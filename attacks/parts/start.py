"""Where an attack begins."""

from torch import Tensor

from robustkit.attacks.attack import Problem
from robustkit.norms import spread


def surface(problem: Problem) -> Tensor:
    """A random direction stretched to the surface of the ball, as AutoAttack's attacks begin.

    In l1 it is the projection of normal noise onto ball and box.
    """
    draws, norm = problem.draws.at(problem.restart), problem.threat.norm
    shape = problem.x.shape[1:]
    if norm.name == "linf":
        direction = 2 * draws.uniform(shape).to(problem.x) - 1
    else:
        direction = draws.normal(shape).to(problem.x)
    if norm.name != "l1":
        direction = direction * spread(problem.eps / norm.size(direction), direction)
    return problem.project(problem.x + direction)
