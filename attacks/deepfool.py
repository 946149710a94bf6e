"""DeepFool: walk to the nearest boundary of the model's linearisation.

Moosavi-Dezfooli et al. 2016, arXiv 1511.04599, algorithm 2 (eq. 8-9), with the dual norm of
section 3.3 for linf. Deviations: pixels that a wall or the mask holds back count as having no
gradient, so that steps are not spent on them; a targeted goal has the one boundary of the margin;
the candidate classes are the most likely ones at the clean picture, as in the authors' code; what
the last step went too far in a model that is not linear is taken back by bisection on the line to
the picture (6 forwards more).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Problem, State, begin, observe_nearest
from robustkit.attacks.parts.drawn import drawn
from robustkit.attacks.parts.gradient import glance, look
from robustkit.attacks.parts.reach import movable, reach
from robustkit.goal import rivals
from robustkit.losses import gap, margin
from robustkit.norms import TINY, spread


class Boundary(NamedTuple):
    """What the linearisation says of one boundary: how far it is `[B]` and the way there.

    `logits` and `loss` are those at the point of the look.
    """

    logits: Tensor
    loss: Tensor
    distance: Tensor
    walk: Tensor


def deepfool(*, steps: int = 50, overshoot: float = 0.02, targets: int = 9) -> Attack:
    """DeepFool in l2 and linf, against the `targets` most likely wrong classes.

    A sample that is fooled is finished; every step goes `1 + overshoot` times its way.

    >>> deepfool().minimum_norm
    True
    """

    def init(problem: Problem) -> State:
        """Where a sample begins."""
        if problem.goal.target is not None:
            return begin(problem, problem.x, (problem.goal.target[:, None],))
        logits = rivals(problem.goal.classes(problem.model(problem.x)), problem.goal.y)
        count = min(targets, logits.shape[1] - 1)
        return begin(problem, problem.x, (logits.topk(count, dim=1).indices,))

    def step(problem: Problem, state: State) -> State:
        """One step of every sample."""
        (candidates,) = state.memory
        found = [_boundary(problem, state.x, target) for target in candidates.unbind(1)]
        state = observe_nearest(problem, state, found[0].logits, found[0].loss)
        nearest = torch.stack([each.distance for each in found]).argmin(0)
        walks = torch.stack([each.walk for each in found])
        walk = walks[nearest, torch.arange(len(nearest), device=nearest.device)]
        moved = reach(problem, state.x - problem.x + walk * (1 + overshoot))
        return state._replace(
            x=torch.where(spread(state.fooled, moved), state.x, moved),
            t=torch.where(state.fooled, steps, state.t + 1),
        )

    def finish(problem: Problem, state: State) -> State:
        """A look at the last point, and the way back from the best one."""
        state = observe_nearest(problem, state, *glance(problem, state.x, margin))
        home = torch.zeros_like(problem.x)
        return drawn(problem, state, home, margin, first=0.5)

    settings = {"steps": steps, "overshoot": overshoot, "targets": targets}
    return Attack("deepfool", init, step, steps, finish, minimum_norm=True, settings=settings)


def _boundary(problem: Problem, x: Tensor, target: Tensor) -> Boundary:
    """The nearest point of the linearised boundary to the class `target` `[B]`."""
    seen = look(problem, x, gap(target))
    gradient = movable(problem, x, seen.gradient)
    missing = seen.loss.neg().nan_to_num(0.0, 0.0, 0.0).clamp_min(0)
    if problem.threat.norm_name == "linf":
        slope, unit = gradient.flatten(1).abs().sum(1), gradient.sign()
    else:
        slope = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
        unit = gradient / spread(slope.clamp_min(TINY), gradient)
    distance = torch.where(slope > 0, missing / slope.clamp_min(TINY), torch.inf)
    walk = unit * spread(distance.nan_to_num(posinf=0.0), unit)
    return Boundary(seen.logits, seen.loss, distance, walk)
