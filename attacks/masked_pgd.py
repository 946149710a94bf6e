"""A patch for each picture: projected gradient descent, or Auto-PGD, inside a rectangle.

LaVAN (Karmon et al. 2018, arXiv 1801.02608, algorithm 1) with signs of gradients in place of
gradients. Deviations: the loss is the log odds instead of a difference of logits; the place is
searched for: a place drawn in each cell of a grid, and at first the place where the linearised loss
gains most, are painted with the steepest colours and looked at in one batch; the worst is attacked.
Every restart draws other places.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.attacks.apgd import apgd
from robustkit.attacks.attack import Attack, Problem, State, begin, observe
from robustkit.attacks.parts.gradient import glance, look
from robustkit.draws import Draws
from robustkit.errors import UserError
from robustkit.losses import LOSSES, Loss
from robustkit.rectangle import Rectangle, best_place, drawn_place, placed
from robustkit.threat import ThreatModel

POSITIONS = ("worst", "random", "fixed")


def masked_pgd(  # noqa: PLR0913 - the parts of the sentence, all keyword-only
    *,
    steps: int = 50,
    step_size: float | None = None,
    restarts: int = 1,
    position: str = "worst",
    grid: int = 5,
    row: float = 0.5,
    column: float = 0.5,
    loss: str = "log-odds",
) -> Attack:
    """PGD inside a patch; norm: patch.

    `position` is "worst" (of `grid` times `grid` drawn places), "random", or "fixed" at the shares
    `row` and `column` of the room there is, from 0 (top, left) to 1. `step_size` is in pixel units;
    without it, 2.5 ranges of a pixel / steps. Raises UserError for another position.

    >>> masked_pgd(steps=20, position="random").steps
    20
    """
    where, score = _where(position, grid, row, column), LOSSES[loss]

    def init(problem: Problem) -> State:
        """Where a sample begins."""
        start, mask = where.begin(problem, score)
        return begin(problem, start, (mask,))

    def step(problem: Problem, state: State) -> State:
        """One step of every sample."""
        seen = look(problem, state.x, score)
        state = observe(problem, state, seen.logits, seen.loss)
        low, high = problem.threat.bounds
        length = 2.5 * (high - low) / steps if step_size is None else step_size
        moved = (state.x + length * seen.gradient.sign()).clamp(problem.low, problem.high)
        return state._replace(x=torch.where(state.memory[0], moved, state.x), t=state.t + 1)

    def finish(problem: Problem, state: State) -> State:
        """A look at the last point."""
        return observe(problem, state, *glance(problem, state.x, score))

    settings = {
        "steps": steps, "restarts": restarts, **where._asdict(), "loss": loss,
        "step_size": "2.5 ranges/steps" if step_size is None else step_size,
    }  # fmt: skip
    return Attack("masked-pgd", init, step, steps, finish, restarts, settings=settings)


def masked_apgd(
    *,
    steps: int = 50,
    restarts: int = 1,
    position: str = "worst",
    grid: int = 5,
    row: float = 0.5,
    column: float = 0.5,
    loss: str = "log-odds",
) -> Attack:
    """Auto-PGD (Croce & Hein 2020, arXiv 2003.01690) inside a patch; norm: patch.

    The place is chosen as `masked_pgd` does it; inside, any colour is allowed and the steps are
    those of APGD in linf. Raises UserError for another position.

    >>> masked_apgd(steps=20).steps
    20
    """
    where, score = _where(position, grid, row, column), LOSSES[loss]
    inner = apgd(steps=steps, loss=loss)

    def init(problem: Problem) -> State:
        """Where a sample begins."""
        _, mask = where.begin(problem, score)
        state = inner.init(_inside(problem, mask))
        return state._replace(memory=(mask, state.memory))

    def step(problem: Problem, state: State) -> State:
        """One step of every sample."""
        mask, memory = state.memory
        state = inner.step(_inside(problem, mask), state._replace(memory=memory))
        return state._replace(memory=(mask, state.memory))

    def finish(problem: Problem, state: State) -> State:
        """A look at the last point."""
        mask, memory = state.memory
        assert inner.finish is not None
        return inner.finish(_inside(problem, mask), state._replace(memory=memory))

    settings = {"steps": steps, "restarts": restarts, **where._asdict(), "loss": loss}
    return Attack("masked-apgd", init, step, inner.steps, finish, restarts, settings=settings)


class _Where(NamedTuple):
    """Where the patch goes: the settings of both attacks."""

    position: str
    grid: int
    row: float
    column: float

    def begin(self, problem: Problem, loss: Loss) -> tuple[Tensor, Tensor]:
        """The picture that a sample begins at, and where its patch is, `[B,1,H,W]`."""
        if self.position == "worst":
            return _worst(problem, loss, self.grid)
        shape, draws = problem.threat.shape, problem.draws.at(problem.restart)
        if self.position == "random":
            place = drawn_place(problem.x, problem.eps, draws.at(0), shape)
        else:
            share = (
                torch.full_like(problem.eps, self.row),
                torch.full_like(problem.eps, self.column),
            )
            place = placed(problem.x, problem.eps, shape, share)
        mask = place.mask(problem.x)
        return torch.where(mask, _noise(problem, draws), problem.x), mask


def _where(position: str, grid: int, row: float, column: float) -> _Where:
    """These settings, looked at before any work."""
    if position not in POSITIONS or grid < 1 or not (0 <= row <= 1 and 0 <= column <= 1):
        raise UserError(
            f"position {', '.join(POSITIONS)}, grid >= 1, row and column in [0, 1]",
            f"position={position}, grid={grid}, row={row}, column={column}",
            "write for example masked-pgd:position=fixed,row=0.5,column=0.5",
        )
    return _Where(position, grid, row, column)


def _inside(problem: Problem, mask: Tensor) -> Problem:
    """The problem of choosing any colours inside `mask` `[B,1,H,W]` and nothing else."""
    low, high = problem.threat.bounds
    return problem._replace(
        threat=_free(low, high),
        eps=torch.full_like(problem.eps, high - low),
        low=torch.where(mask, problem.low, problem.x),
        high=torch.where(mask, problem.high, problem.x),
    )


@cache
def _free(low: float, high: float) -> ThreatModel:
    """Any colour at all."""
    return ThreatModel("linf", high - low, (low, high))


def _noise(problem: Problem, draws: Draws) -> Tensor:
    """Uniform between the lowest and the highest value that each pixel may take."""
    drawn = draws.at(1).uniform(problem.x.shape[1:]).to(problem.x)
    return (problem.low + (problem.high - problem.low) * drawn).clamp(problem.low, problem.high)


def _worst(problem: Problem, loss: Loss, grid: int) -> tuple[Tensor, Tensor]:
    """The picture with the steepest colours where they do most harm, and where `[B,1,H,W]`."""
    x, shape = problem.x, problem.threat.shape
    gradient = look(problem, x, loss).gradient
    colours = torch.where(gradient > 0, problem.high, problem.low)
    colours = torch.where(gradient == 0, x, colours)
    places = _drawn(problem, grid)
    if not problem.restart:
        places = _join(places, best_place(gradient * (colours - x), problem.eps, shape))
    count = places.top.shape[1]
    index = torch.arange(len(x), device=x.device).repeat_interleave(count)
    inside = Rectangle(*(part.flatten() for part in places)).mask(x)
    pictures = torch.where(inside, colours[index], x[index])
    value = loss(problem.model(pictures), problem.goal.take(index)).reshape(-1, count)
    worst = value.nan_to_num().argmax(1, keepdim=True)
    place = Rectangle(*(part.gather(1, worst).squeeze(1) for part in places))
    mask = place.mask(x)
    return torch.where(mask, colours, x), mask


def _drawn(problem: Problem, grid: int) -> Rectangle:
    """A place drawn in each cell of a grid over all places, every part `[B, grid * grid]`."""
    ticks = torch.arange(grid, device=problem.x.device)
    inside = problem.draws.at(problem.restart, 2).uniform((grid * grid, 2))
    shares = ((torch.cartesian_prod(ticks, ticks) + inside) / grid).flatten(0, 1)
    eps = problem.eps.repeat_interleave(grid * grid)
    places = placed(problem.x, eps, problem.threat.shape, (shares[:, 0], shares[:, 1]))
    return Rectangle(*(part.reshape(-1, grid * grid) for part in places))


def _join(places: Rectangle, one: Rectangle) -> Rectangle:
    """Places `[B,P]` and one more `[B]` as `[B,P+1]`."""
    pairs = zip(places, one, strict=True)
    return Rectangle(*(torch.cat((many, last[:, None]), 1) for many, last in pairs))
