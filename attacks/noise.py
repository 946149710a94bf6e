"""Noise: what a model does without an attacker, and what any attack has to beat.

Blind baselines that look at nothing but whether they succeeded: uniform and Gaussian noise, and
salt and pepper (the repeated tries are those of Hendrycks & Dietterich 2019, arXiv 1903.12261, and
of the noise attacks of Rauber et al. 2017, arXiv 1707.04131, kept inside the threat model). An
attack that does no better than these has not worked.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Problem, State, begin, observe
from robustkit.attacks.parts.gradient import glance
from robustkit.draws import Draws
from robustkit.losses import margin
from robustkit.norms import TINY, spread

Draw = Callable[[Problem, Draws], Tensor]


def uniform_noise(*, queries: int = 100) -> Attack:
    """Points drawn uniformly from the threat model, in every norm; the first that succeeds counts.

    >>> uniform_noise(queries=10).gradient
    False
    """
    return _blind("uniform-noise", _uniform, queries)


def gaussian_noise(*, queries: int = 100) -> Attack:
    """Gaussian directions stretched to the surface of the ball, in linf, l2 and l1."""
    return _blind("gaussian-noise", _gaussian, queries)


def salt_and_pepper(*, queries: int = 100) -> Attack:
    """Random pixels to black or white until the budget is spent, in l0 and l1."""
    return _blind("salt-and-pepper", _grains, queries)


def _blind(name: str, draw: Draw, queries: int) -> Attack:
    """Look at one drawn point a step."""

    def drawn(problem: Problem, t: Tensor) -> Tensor:
        """The point of one try."""
        return draw(problem, problem.draws.at(problem.restart).at(t))

    def init(problem: Problem) -> State:
        """Where a sample begins."""
        return begin(problem, drawn(problem, torch.zeros_like(problem.goal.y)))

    def step(problem: Problem, state: State) -> State:
        """One step of every sample."""
        state = observe(problem, state, *glance(problem, state.x, margin))
        return state._replace(x=drawn(problem, state.t + 1), t=state.t + 1)

    return Attack(name, init, step, queries, gradient=False, settings={"queries": queries})


def _uniform(problem: Problem, draws: Draws) -> Tensor:
    return problem.project(problem.x + problem.threat.norm.sample(problem.x, problem.eps, draws))


def _gaussian(problem: Problem, draws: Draws) -> Tensor:
    direction = draws.normal(problem.x.shape[1:]).to(problem.x)
    size = problem.threat.norm.size(direction).clamp_min(TINY)
    return problem.project(problem.x + direction * spread(problem.eps / size, direction))


def _grains(problem: Problem, draws: Draws) -> Tensor:
    """The steepest point along random weights: pixels in random order to a random wall."""
    shape = problem.x.shape[1:]
    order = draws.at(0).uniform(shape) + TINY
    return problem.steepest((order * draws.at(1).signs(shape)).to(problem.x))
