"""Orthogonal and selective PGD: against a model and its detector, one goal at a time.

Bryniarski et al. 2021 (arXiv 2106.15023), algorithms 1 and 2: no weighted sum, which always
neglects one of the two. Deviations: steps are steepest in the threat's norm; the best point of the
whole path counts. Without a detector it is PGD with the margin loss.
"""

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Problem, State
from robustkit.attacks.parts.climb import climb
from robustkit.attacks.parts.gradient import Look
from robustkit.errors import UserError
from robustkit.losses import excess, margin
from robustkit.norms import spread

MODES = ("orthogonal", "selective")


def orthogonal_pgd(
    *,
    steps: int = 100,
    step_size: float | None = None,
    restarts: int = 1,
    mode: str = "orthogonal",
    eot: int = 1,
) -> Attack:
    """PGD that leaves the label while it is right, and pleases the detector once it is wrong.

    `mode` "orthogonal" steps where the other goal does not change to first order, "selective"
    disregards it. `eot` averages that many looks a step. Norms: linf, l2, l1.

    >>> orthogonal_pgd(mode="selective").settings["mode"]
    'selective'
    """
    if mode not in MODES:
        raise UserError(f"a mode of {', '.join(MODES)}", repr(mode), "write mode=selective")

    def source(problem: Problem, state: State) -> Look:
        """A look whose gradient is that of the goal that is not reached yet."""
        looks = [_look(problem, state.x) for _ in range(eot)]
        logits, leave, please = (sum(parts) / eot for parts in zip(*looks, strict=True))
        wrong = _alone(logits, problem) > 0
        if mode == "orthogonal":
            leave, please = _without(leave, please), _without(please, leave)
        gradient = torch.where(spread(wrong, leave), please, leave)
        return Look(logits, margin(logits, problem.goal), gradient)

    settings = {
        "steps": steps, "step_size": step_size, "restarts": restarts, "loss": "margin",
        "mode": mode, "eot": eot,
    }  # fmt: skip
    return climb("orthogonal-pgd", source, random_start=True, settings=settings)


def _look(problem: Problem, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, the gradient of the margin of the classes alone, and that of being accepted."""
    model = problem.model
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = model(x)
        leave = model.gradient(_alone(logits, problem), x, again=True)
        please = model.gradient(-excess(logits, problem.goal), x)
    return logits.detach(), leave, please


def _alone(logits: Tensor, problem: Problem) -> Tensor:
    """The margin as if nothing were ever turned away, `[B]`."""
    goal = problem.goal
    return margin(logits[:, : goal.abstain], goal._replace(abstain=None))


def _without(gradient: Tensor, other: Tensor) -> Tensor:
    """The part of a gradient that is orthogonal to another one."""
    inner = (gradient * other).flatten(1).sum(1)
    square = other.square().flatten(1).sum(1).clamp_min(1e-30)
    return gradient - spread(inner / square, other) * other
