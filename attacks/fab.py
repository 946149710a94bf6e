"""FAB, the fast adaptive boundary attack, and FAB-T (Croce & Hein 2020, arXiv 1907.02044).

Algorithm 1: project the point and the original onto the linearised boundary, inside the box, go to
a mixture of both, and from a success a part of the way back. FAB takes the nearest boundary of all
classes, FAB-T that of one class a restart, the most likely ones in turn.

Deviations: the label of a point is read off the look that the next step needs anyway, so that only
a success costs a look more; the point after going back counts too where it is a success; a goal
that has a target has the one boundary of the margin; in l1 a random start is a projection of
normal noise. Published: 100 steps, alpha_max 0.1, eta 1.05, beta 0.9, 9 targets.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.attacks.attack import (
    Attack,
    Problem,
    State,
    begin,
    choose_rows,
    observe,
    observe_nearest,
)
from robustkit.attacks.parts.gradient import Look, glance, look
from robustkit.attacks.parts.hyperplane import onto_hyperplane
from robustkit.attacks.parts.reach import reach
from robustkit.attacks.parts.start import surface
from robustkit.attacks.parts.targets import likely
from robustkit.losses import gap, margin
from robustkit.norms import spread

ALPHA_MAX = 0.1
ETA = 1.05
BETA = 0.9

Boundary = Callable[[Problem, Tensor, Tensor], Look]


class Memory(NamedTuple):
    """The class that FAB-T goes for, and whether the last move was one back from a success."""

    target: Tensor
    returned: Tensor


def fab(*, steps: int = 100, restarts: int = 1, minimum: bool = True) -> Attack:
    """FAB against the nearest boundary: one backward a class and step.

    Restarts begin at random points, half as far away as the threat's eps. Without `minimum` a
    sample is finished at its first success inside eps.

    >>> fab().minimum_norm, fab(minimum=False).minimum_norm
    (True, False)
    """
    settings = {"steps": steps, "restarts": restarts, "minimum": minimum}

    def init(problem: Problem) -> State:
        """Begin where this restart begins."""
        return _begin(problem, problem.goal.label, problem.restart)

    return _attack("fab", init, _nearest, settings)


def fab_t(*, steps: int = 100, targets: int = 9, minimum: bool = True) -> Attack:
    """FAB-T against the boundaries of the `targets` most likely wrong classes, one a restart.

    With fewer wrong classes they are gone through again, from random starts. Without `minimum` a
    sample is finished at its first success inside eps, as AutoAttack uses it.
    """
    settings = {"steps": steps, "restarts": targets, "minimum": minimum}

    def init(problem: Problem) -> State:
        """Begin with the class of this restart."""
        return _begin(problem, *likely(problem))

    def boundary(problem: Problem, x: Tensor, target: Tensor) -> Look:
        """A look at the boundary to the class of this restart."""
        return look(problem, x, gap(target))

    return _attack("fab-t", init, boundary, settings)


def _attack(
    name: str, init: Callable[[Problem], State], boundary: Boundary, settings: dict[str, int | bool]
) -> Attack:
    note = observe_nearest if settings["minimum"] else _observe_inside

    def step(problem: Problem, state: State) -> State:
        """Look, note, go back from a success or on towards the boundary."""
        memory: Memory = state.memory  # type: ignore[assignment]
        seen = boundary(problem, state.x, memory.target)
        state = note(problem, state, seen.logits, seen.loss)
        returning = problem.goal.reached(seen.logits) & ~memory.returned
        back = problem.x + BETA * (state.x - problem.x)
        x = torch.where(spread(returning, back), back, _move(problem, state.x, seen))
        return state._replace(x=x, t=state.t + ~returning, memory=Memory(memory.target, returning))

    def finish(problem: Problem, state: State) -> State:
        """Look at the last point."""
        return note(problem, state, *glance(problem, state.x, margin))

    shown = {**settings, "alpha_max": ALPHA_MAX, "eta": ETA, "beta": BETA}
    return Attack(
        name, init, step, settings["steps"], finish, settings["restarts"],
        minimum_norm=bool(settings["minimum"]), settings=shown,
    )  # fmt: skip


def _begin(problem: Problem, target: Tensor, again: int) -> State:
    """The clean picture; from the second time on a random one, half as far away as eps."""
    x = problem.x if again == 0 else (problem.x + surface(problem)) / 2
    return begin(problem, x, Memory(target, torch.zeros_like(target, dtype=torch.bool)))


def _observe_inside(problem: Problem, state: State, logits: Tensor, loss: Tensor) -> State:
    """Note what the model says, of points inside the budget only."""
    inside = problem.threat.size(state.x, problem.x) <= problem.eps
    noted: State = choose_rows(inside, observe(problem, state, logits, loss), state)
    return noted


def _nearest(problem: Problem, x: Tensor, _label: Tensor) -> Look:
    """A look whose loss and gradient are those of the class whose boundary is nearest."""
    if problem.goal.target is not None:
        return look(problem, x, margin)
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = problem.model(x)
        distance = torch.full_like(problem.eps, torch.inf)
        loss, gradient = torch.zeros_like(distance), torch.zeros_like(x)
        for other in range(problem.goal.classes(logits).shape[1]):
            ahead = gap(torch.full_like(problem.goal.y, other))(logits, problem.goal)
            slope = problem.model.gradient(ahead, x, again=True)
            far = _distance(problem, ahead.detach(), slope)
            nearer = (far < distance) & (problem.goal.y != other)
            distance = torch.where(nearer, far, distance)
            loss = torch.where(nearer, ahead.detach(), loss)
            gradient = torch.where(spread(nearer, x), slope, gradient)
    return Look(logits.detach(), loss, gradient)


def _distance(problem: Problem, ahead: Tensor, slope: Tensor) -> Tensor:
    """How far the linearised boundary is, without the box: |value| over the dual norm."""
    order = {"linf": 1.0, "l2": 2.0, "l1": torch.inf}[problem.threat.norm_name]
    length: Tensor = torch.linalg.vector_norm(slope.flatten(1), order, dim=1)
    return ahead.abs() / (length + 1e-12)


def _move(problem: Problem, x: Tensor, seen: Look) -> Tensor:
    """A mixture of the projections of `x` and of the original onto the boundary (eq. 9)."""
    norm, (low, high) = problem.threat.norm, problem.threat.box(problem.x)
    delta = x - problem.x
    here = onto_hyperplane(norm.name, seen.gradient, -seen.loss, (low - delta, high - delta))
    rise = (seen.gradient * delta).flatten(1).sum(1) - seen.loss
    there = onto_hyperplane(norm.name, seen.gradient, rise, (low, high))
    near, far = norm.size(here).clamp_min(1e-8), norm.size(there).clamp_min(1e-8)
    alpha = spread((near / (near + far)).clamp_max(ALPHA_MAX), delta)
    return reach(problem, (delta + ETA * here) * (1 - alpha) + ETA * there * alpha)
