"""PGD on the divergence that TRADES trains with: away from what is said of the clean picture.

Zhang et al. 2019, arXiv 1901.08573, algorithm 1: steepest ascent on KL(p(x) || p(x_adv)) from the
picture plus Gaussian noise of deviation 0.001, as there is no slope at the picture itself. It has
no label, and so no target: where a target is wanted it climbs the log odds instead.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from robustkit.attacks.attack import Attack, Problem, State, begin
from robustkit.attacks.parts.climb import climb, last_look
from robustkit.attacks.parts.gradient import Look, look
from robustkit.attacks.parts.momentum import Direction
from robustkit.goal import Goal
from robustkit.losses import Loss, kl, log_odds

NAME = "trades-kl"
NOISE = 0.001
_NOISE_WORD = 1
# The belief about the clean picture is the memory, and no step changes it.
_KEPT = Direction(lambda x: (), lambda problem, state, gradient: (gradient, state.memory))


def climb_divergence(name: str, settings: Mapping[str, Any]) -> Attack:
    """The climb with the loss `trades-kl`; `settings` has steps, step_size, restarts.

    >>> climb_divergence("trades", {"steps": 7, "step_size": None}).steps
    7
    """
    like = {**settings, "loss": "log-odds"}
    attack = climb(name, _source, direction=_KEPT, settings=like)

    def init(problem: Problem) -> State:
        """Remember what is said of the picture, and begin beside it."""
        belief = problem.model(problem.x).softmax(1).detach()
        draws = problem.draws.at(problem.restart, _NOISE_WORD)
        start = problem.x + NOISE * draws.normal(problem.x.shape[1:]).to(problem.x)
        return begin(problem, problem.project(start), (belief,))

    def finish(problem: Problem, state: State) -> State:
        """Look at the last point."""
        return last_look(problem, state, divergence(state.memory[0]))

    shown = {**attack.settings, "loss": NAME}
    return replace(attack, init=init, finish=finish, settings=shown)


def divergence(belief: Tensor) -> Loss:
    """KL from `belief` `[B,K]`, probabilities, to what is said now; the log odds of a target."""

    def loss(logits: Tensor, goal: Goal) -> Tensor:
        """The divergence `[B]`."""
        return kl(belief, logits) if goal.target is None else log_odds(logits, goal)

    return loss


def _source(problem: Problem, state: State) -> Look:
    return look(problem, state.x, divergence(state.memory[0]))
