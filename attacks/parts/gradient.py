"""Where the gradient comes from: the model itself, or the model behind input transforms."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.attacks.attack import Problem, State
from robustkit.losses import Loss


class Look(NamedTuple):
    """What the model says at one point: logits `[B,K]`, loss `[B]`, gradient `[B,C,H,W]`."""

    logits: Tensor
    loss: Tensor
    gradient: Tensor


Source = Callable[[Problem, State], Look]
"""`source(problem, state)`: a look at `state.x`; logits and loss are those at the point itself."""


def look(problem: Problem, x: Tensor, loss: Loss) -> Look:
    """One forward and one backward with respect to the input alone."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = problem.model(x)
        value = loss(logits, problem.goal)
        gradient = problem.model.gradient(value, x)
    return Look(logits.detach(), value.detach(), gradient)


def glance(problem: Problem, x: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    """One forward without a graph: logits and loss."""
    logits = problem.model(x)
    return logits, loss(logits, problem.goal)


def plain(loss: Loss) -> Source:
    """The model's own gradient at the point itself."""
    return lambda problem, state: look(problem, state.x, loss)


def averaged(loss: Loss, samples: int) -> Source:
    """Expectation over the model's own randomness (EOT, Athalye et al. 2018): a mean of looks.

    Logits and loss are means too, so that one lucky draw is no success.
    """
    if samples == 1:
        return plain(loss)

    def source(problem: Problem, state: State) -> Look:
        """A look that is the mean of several."""
        total = look(problem, state.x, loss)
        for _ in range(samples - 1):
            total = Look(*map(torch.add, total, look(problem, state.x, loss)))
        return Look(*(part / samples for part in total))

    return source


def smoothed(loss: Loss, samples: int, sigma: float) -> Source:
    """The gradient of the loss averaged over Gaussian noise: for losses that are rough.

    The mitigation of Pintor et al. 2022 (2106.09947) for unstable predictions. Logits and loss are
    those of the point itself.
    """

    def source(problem: Problem, state: State) -> Look:
        """A look whose gradient is the mean of several around it."""
        logits, value = glance(problem, state.x, loss)
        total = torch.zeros_like(state.x)
        for draw in range(samples):
            draws = problem.draws.at(problem.restart, draw + 1, state.t)
            noise = draws.normal(state.x.shape[1:]).to(state.x)
            total = total + look(problem, state.x + sigma * noise, loss).gradient
        return Look(logits, value, total / samples)

    return source
