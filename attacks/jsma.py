"""JSMA: change the most salient pixel to its wall, again and again, until the model is fooled.

Papernot et al. 2016, arXiv 1511.07528, algorithm 1 and eq. 8. On softmax outputs the derivatives
of all classes sum to zero, so the saliency of eq. 8 is the squared derivative of the target's
probability: one gradient gives the whole map, and the best pair of pixels is that of the two best,
without a table of all pairs. Deviations: one pixel a step, weighted by how far it can move, upwards
or downwards; the derivative is that of the log odds, which orders pixels alike and does not vanish;
without a target the true label's probability is lowered.
"""

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Problem, State, begin, observe_nearest
from robustkit.attacks.parts.gradient import glance, look
from robustkit.losses import LOSSES
from robustkit.norms import spread


def jsma(*, steps: int = 100, loss: str = "log-odds") -> Attack:
    """The Jacobian-based saliency map attack in l0; `steps` is the most pixels it changes.

    Every channel of a pixel counts for itself, as everywhere in l0. A sample that is fooled is
    finished.

    >>> jsma(steps=20).steps
    20
    """
    score = LOSSES[loss]

    def step(problem: Problem, state: State) -> State:
        """One step of every sample."""
        seen = look(problem, state.x, score)
        state = observe_nearest(problem, state, seen.logits, seen.loss)
        moved = _saturate(problem, state.x, seen.gradient)
        return state._replace(
            x=torch.where(spread(state.fooled, moved), state.x, moved),
            t=torch.where(state.fooled, steps, state.t + 1),
        )

    def finish(problem: Problem, state: State) -> State:
        """A look at the last point."""
        return observe_nearest(problem, state, *glance(problem, state.x, score))

    return Attack(
        "jsma", lambda problem: begin(problem, problem.x), step, steps, finish,
        minimum_norm=True, settings={"steps": steps, "loss": loss},
    )  # fmt: skip


def _saturate(problem: Problem, x: Tensor, gradient: Tensor) -> Tensor:
    """The picture with its most salient pixel at the wall, if any pixel is of use."""
    low, high = problem.threat.box(problem.x)
    wall = torch.where(gradient > 0, high, low)
    saliency = (gradient * wall * (x == problem.x)).flatten(1)
    most, pixel = saliency.max(1, keepdim=True)
    there = (problem.x + wall).clamp(*problem.threat.bounds).flatten(1).gather(1, pixel)
    flat = x.flatten(1)
    there = torch.where(most > 0, there, flat.gather(1, pixel))
    return flat.scatter(1, pixel, there).reshape(x.shape)
