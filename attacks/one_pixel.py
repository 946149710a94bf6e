"""One-pixel attack: differential evolution over the place and the colour of few pixels.

Su et al. 2019, arXiv 1710.08864, sections III-B and IV-A: 400 candidates, 100 generations,
rand/1 mutation with factor 0.5, no crossover; a child takes its parent's place if it is better.
Deviations: a child competes at once, not at the end of its generation; places wrap around at the
edges; colours start uniform, where the paper draws them from N(0.5, 0.5) of the range.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Problem, State, begin, observe
from robustkit.attacks.parts.gradient import glance
from robustkit.losses import LOSSES

FACTOR = 0.5


class Memory(NamedTuple):
    """The population `[B,N,G]` with its losses `[B,N]`, and the child `[B,G]` now asked about.

    Genes lie in [0, 1): for each pixel its row and column, then its colours.
    """

    population: Tensor
    losses: Tensor
    child: Tensor


def one_pixel(
    *, queries: int = 40000, pixels: int = 1, population: int = 400, loss: str = "log-odds"
) -> Attack:
    """One-pixel attack in l0: `pixels` places, all their channels.

    The l0 budget counts channels; where it is smaller than what `pixels` need, the largest changes
    stay. `queries` is a hard budget a sample: every step is one query.

    >>> one_pixel(queries=500).steps
    500
    """
    score = LOSSES[loss]

    def init(problem: Problem) -> State:
        """Where a sample begins."""
        genes = pixels * (2 + problem.x.shape[1])
        draws = problem.draws.at(problem.restart, 0, 0)
        crowd = draws.uniform((population, genes)).to(problem.x)
        losses = torch.full_like(crowd[:, :, 0], -torch.inf)
        memory = Memory(crowd, losses, crowd[:, 0])
        return begin(problem, _painted(problem, crowd[:, 0], pixels), memory)

    def step(problem: Problem, state: State) -> State:
        """One step of every sample."""
        logits, value = glance(problem, state.x, score)
        state = observe(problem, state, logits, value)
        memory = _survived(Memory(*state.memory), value, state.t % population)
        t = state.t + 1
        child = _mutant(problem, memory, t, population)
        x = _painted(problem, child, pixels)
        return state._replace(x=x, t=t, memory=memory._replace(child=child))

    settings = {"queries": queries, "pixels": pixels, "population": population, "loss": loss}
    return Attack("one-pixel", init, step, queries, gradient=False, settings=settings)


def _survived(memory: Memory, value: Tensor, place: Tensor) -> Memory:
    """The child takes the place of its parent if its loss is at least as large."""
    won = value >= memory.losses.gather(1, place[:, None]).squeeze(1)
    everyone = torch.arange(memory.losses.shape[1], device=place.device)
    here = (everyone == place[:, None]) & won[:, None]
    return memory._replace(
        population=torch.where(here[:, :, None], memory.child[:, None], memory.population),
        losses=torch.where(here, value[:, None], memory.losses),
    )


def _mutant(problem: Problem, memory: Memory, t: Tensor, population: int) -> Tensor:
    """The next child: in the first generation its own parent, then a + (b - c) / 2 of three."""
    place = t % population
    drawn = problem.draws.at(problem.restart, t, 1).integers(population, (3,))
    chosen = torch.cat((place[:, None], drawn), 1)[:, :, None]
    genes = memory.population.shape[2]
    own, a, b, c = memory.population.gather(1, chosen.expand(-1, -1, genes)).unbind(1)
    return torch.where((t < population)[:, None], own, a + FACTOR * (b - c))


def _painted(problem: Problem, genes: Tensor, pixels: int) -> Tensor:
    """The picture with the pixels that the genes describe, as far as the budget allows."""
    _, channels, height, width = problem.x.shape
    low, high = problem.threat.bounds
    x = problem.x
    for part in genes.split(2 + channels, dim=1):
        row, column = (part[:, k] % 1.0 * n for k, n in ((0, height), (1, width)))
        rows = torch.arange(height, device=x.device) == row.long()[:, None]
        columns = torch.arange(width, device=x.device) == column.long()[:, None]
        colour = low + (high - low) * part[:, 2:].clamp(0, 1)
        here = rows[:, None, :, None] & columns[:, None, None, :]
        x = torch.where(here, colour[:, :, None, None], x)
    return problem.project(x)
