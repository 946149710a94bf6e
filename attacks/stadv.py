"""StAdv: pixels are not repainted but moved, smoothly, by a field of flow.

Xiao et al. 2018, arXiv 1801.02612, equations 1 to 4: bilinear sampling along a flow, found by
minimising a loss plus `weight` times the flow's total variation (equation 4). Deviations: Adam
instead of L-BFGS with a line search, so that every sample has a step of its own and costs one
forward and backward; a budget, `flow:PIXELS`, bounds how far a pixel's source may lie, and the
first success within it counts, so smoothness has no weight unless it is given one, and the loss is
the log odds. As published: `stadv:weight=0.05,loss=margin`.
"""

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Problem, State, begin
from robustkit.attacks.parts.adam import Moments, adam
from robustkit.attacks.parts.gradient import glance, look
from robustkit.attacks.parts.made import Made, best_made, note_made
from robustkit.distortions.warping import bent, places
from robustkit.losses import LOSSES
from robustkit.norms import TINY, spread
from robustkit.transforms import lengths

# The length of a difference has no slope at zero; this rounds the corner off.
ROUND = 1e-8
STEP, FIRST = 0.1, 0.01


def stadv(
    *,
    steps: int = 100,
    step_size: float | None = None,
    weight: float = 0.0,
    loss: str = "log-odds",
) -> Attack:
    """The spatially transformed attack; norm: flow.

    `step_size` is in pixels; without it, a tenth of the budget. `weight` is that of smoothness:
    none gives the strongest attack, much gives one that nobody sees.

    >>> stadv(steps=50).steps
    50
    """
    score = LOSSES[loss]

    def init(problem: Problem) -> State:
        """Begin with a flow too small to be seen."""
        start = _inwards(problem)
        return begin(problem, problem.remade(start), (start, start, Moments.zero(start)))

    def step(problem: Problem, state: State) -> State:
        """Look, and turn the gradient of the pixels into one of the flow."""
        flow, best, moments = state.memory
        seen = look(problem, state.x, score)
        state = note_made(problem, state, Made(flow, best), seen.logits, seen.loss)
        gradient = _pull(problem, flow, seen.gradient, weight)
        moments, mean, scale = adam(Moments(*moments), gradient, state.t)
        length = (
            STEP * problem.eps if step_size is None else torch.full_like(problem.eps, step_size)
        )
        # One scale a displacement: where one of its coordinates has no slope it stays alone.
        way = mean / lengths(scale)[:, None]
        ahead = _within(problem, flow + spread(length, flow) * way)
        return state._replace(
            x=problem.remade(ahead), t=state.t + 1, memory=(ahead, state.memory[1], moments)
        )

    def finish(problem: Problem, state: State) -> State:
        """A look at the last point."""
        made = Made(*state.memory[:2])
        return note_made(problem, state, made, *glance(problem, state.x, score))

    settings = {
        "steps": steps, "weight": weight, "loss": loss,
        "step_size": "eps/10" if step_size is None else step_size,
    }  # fmt: skip
    return Attack("stadv", init, step, steps, finish, settings=settings, made=best_made)


def _inwards(problem: Problem) -> Tensor:
    """A hundredth of the budget towards the middle, as sampling on the border has no slope."""
    down, right = (
        torch.where(place < place.amax() / 2, FIRST, -FIRST) for place in places(problem.x)
    )
    one = torch.cat(torch.broadcast_tensors(down, right)).to(problem.x)
    return one * spread(problem.eps, problem.x)


def _within(problem: Problem, flow: Tensor) -> Tensor:
    """The flow with every displacement shortened to the budget."""
    share = problem.eps[:, None, None] / lengths(flow).clamp_min(TINY)
    return flow * share.clamp_max(1.0)[:, None]


def _pull(problem: Problem, flow: Tensor, gradient: Tensor, weight: float) -> Tensor:
    """The gradient of loss minus roughness with respect to the flow, `[B,2,H,W]`."""
    free = gradient * (problem.high > problem.low)
    with torch.enable_grad():
        flow = flow.detach().requires_grad_()
        value = (bent(problem.x, flow) * free).sum() - weight * roughness(flow).sum()
        (pull,) = torch.autograd.grad(value, flow)
    return pull


def roughness(flow: Tensor) -> Tensor:
    """The length of the difference between neighbours' flows, summed, `[B]` (equation 4).

    >>> float(roughness(torch.ones(1, 2, 4, 4))) < 0.01
    True
    """
    down, right = flow.diff(dim=2), flow.diff(dim=3)
    parts = [(part.square().sum(1) + ROUND).sqrt().flatten(1).sum(1) for part in (down, right)]
    return parts[0] + parts[1]
