"""Carlini & Wagner: the smallest perturbation by penalty, in l2 and in linf.

Carlini & Wagner 2017, arXiv 1608.04644, sections VI-A (l2) and VI-C (linf), with the loss f6.
Deviations: the box is kept by projection, the first of the paper's three ways (section V-B), not
by a change of variables, because tanh has no slope at 0 and 1 and pixels there would hardly move;
every sample searches and aborts for itself; the l2 step of 0.003 is what 0.01 before tanh comes to
on the mean pixel; in linf steps are at most a twentieth of the limit, and that is bisected to 1 %
where it cannot be lowered by the published 10 % any more; at the end the best point is drawn
towards the nearest one of the boundary's linearisation, as far as that succeeds.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.attacks.attack import (
    Attack,
    Problem,
    State,
    begin,
    choose_rows,
    observe_nearest,
)
from robustkit.attacks.parts.adam import Moments, adam
from robustkit.attacks.parts.drawn import gathered
from robustkit.attacks.parts.gradient import Look, glance, look
from robustkit.attacks.parts.penalty import Search, bisect, hinge, note, renew
from robustkit.attacks.parts.reach import reach
from robustkit.goal import Goal
from robustkit.losses import asked_more
from robustkit.norms import spread

HIGHEST = 20.0
LOWERING = 0.9
CLOSE = 0.01


class Limit(NamedTuple):
    """The limit on every pixel that linf tries now, and the highest that was too low, `[B]`."""

    tried: Tensor
    failed: Tensor


class Memory(NamedTuple):
    """Adam's moments, the search for the weight, and for linf the limit."""

    moments: Moments
    search: Search
    limit: Limit


def carlini_wagner(
    *,
    steps: int = 9000,
    rounds: int = 9,
    step_size: float | None = None,
    weight: float | None = None,
    confidence: float = 0.0,
) -> Attack:
    """C&W in l2 and linf.

    `steps` is the budget of all rounds: 9 of 1000 as is usual, the paper's code allows 10000 each.
    `weight` is the first constant c and `step_size` Adam's: 1e-3 and 0.003 in l2, 1e-5 and 0.005 in
    linf. In linf there are as many rounds as fit, each of at most `steps / rounds`. `confidence`
    (kappa) is the margin, in units of logits, from which on a picture is a success.

    >>> carlini_wagner().steps
    9000
    """
    length = max(steps // rounds, 1)

    def score(logits: Tensor, goal: Goal) -> Tensor:
        """What is missing to the margin that is asked for, `[B]`."""
        return hinge(asked_more(logits, goal, confidence), goal)

    def step(problem: Problem, state: State) -> State:
        """One step of every sample."""
        flat = problem.threat.norm_name == "linf"
        memory = Memory(*state.memory)
        seen = look(problem, state.x, score)
        sure = asked_more(seen.logits, problem.goal, confidence)
        state = observe_nearest(problem, state, sure, seen.loss)
        size, moments, moved = _descend(problem, state, memory, seen, step_size)
        kept = problem.goal.reached(sure) & ((size == 0) if flat else True)
        objective = size - memory.search.weight * seen.loss
        search, over = note(memory.search, kept, objective, state.t, length)
        search, limit, over = (_squeeze if flat else _reweigh)(state, search, memory.limit, over)
        done = _exhausted(state, limit) if flat else search.rounds >= rounds
        # In l2 every round begins at the picture, in linf where the last one ended.
        moved = torch.where(spread(over, moved), moved if flat else 0.0, moved)
        moments = choose_rows(over, Moments.zero(moved), moments)
        return state._replace(
            x=reach(problem, moved),
            t=torch.where(done, steps, state.t + 1),
            memory=Memory(moments, search, limit),
        )

    def finish(problem: Problem, state: State) -> State:
        """A look at the last point; where no margin is asked for, the best one drawn nearer."""
        logits, loss = glance(problem, state.x, score)
        sure = asked_more(logits, problem.goal, confidence)
        state = observe_nearest(problem, state, sure, loss)
        return state if confidence else gathered(problem, state)

    settings = {
        "steps": steps, "rounds": rounds, "step_size": step_size, "weight": weight,
        "confidence": confidence,
    }  # fmt: skip
    return Attack(
        "carlini-wagner", lambda problem: _start(problem, weight), step, steps, finish,
        minimum_norm=True, settings=settings,
    )  # fmt: skip


def _start(problem: Problem, weight: float | None) -> State:
    """At the picture, with the first weight."""
    usual = 1e-5 if problem.threat.norm_name == "linf" else 1e-3
    one = torch.ones_like(problem.eps)
    search = Search.first(usual if weight is None else weight, one)
    return begin(problem, problem.x, Memory(Moments.zero(problem.x), search, Limit(one, 0 * one)))


def _descend(
    problem: Problem, state: State, memory: Memory, seen: Look, step_size: float | None
) -> tuple[Tensor, Moments, Tensor]:
    """The penalty on the size `[B]` where it was looked, and Adam's step from there."""
    delta = state.x - problem.x
    flat = problem.threat.norm_name == "linf"
    size, slope = _excess(delta, memory.limit.tried) if flat else _square(delta)
    gradient = slope - spread(memory.search.weight, slope) * seen.gradient
    # A sample that is finished, and stepped on nevertheless, stands before its next round.
    done = (state.t - memory.search.begun).clamp_min(0)
    moments, mean, scale = adam(memory.moments, gradient, done)
    length = spread(_length(problem, memory.limit, step_size), delta)
    return size, moments, delta - length * mean / scale


def _length(problem: Problem, limit: Limit, step_size: float | None) -> Tensor:
    """Adam's step size `[B]`; in linf at most a twentieth of the limit, or it would jump across."""
    if problem.threat.norm_name == "linf":
        return (limit.tried / 20).clamp_max(0.005 if step_size is None else step_size)
    return torch.full_like(limit.tried, 0.003 if step_size is None else step_size)


def _square(delta: Tensor) -> tuple[Tensor, Tensor]:
    """The squared l2 size `[B]` and its gradient."""
    return delta.square().flatten(1).sum(1), 2 * delta


def _excess(delta: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
    """By how much pixels exceed the limit, in sum `[B]`, and its gradient."""
    excess = delta.abs() - spread(limit, delta)
    return excess.clamp_min(0).flatten(1).sum(1), delta.sign() * (excess > 0)


def _reweigh(
    state: State, search: Search, limit: Limit, over: Tensor
) -> tuple[Search, Limit, Tensor]:
    """The l2 rule: another weight; which samples begin a new round."""
    return bisect(search, over, state.t), limit, over


def _exhausted(state: State, limit: Limit) -> Tensor:
    """Whether no limit below the best size is left to try, `[B]`."""
    return limit.failed >= (1 - CLOSE) * state.size.clamp_max(1.0)


def _squeeze(
    state: State, search: Search, limit: Limit, over: Tensor
) -> tuple[Search, Limit, Tensor]:
    """Lower the limit where it was kept; where it was not, double the weight, then give it up."""
    over = over | search.hit
    missed = over & ~search.hit
    given_up = missed & (search.weight * 2 > HIGHEST)
    failed = torch.where(given_up, torch.maximum(limit.failed, limit.tried), limit.failed)
    lower = LOWERING * torch.minimum(limit.tried, state.size)
    middle = (failed + state.size.clamp_max(1.0)) / 2
    tried = torch.where(given_up | (search.hit & (lower <= failed)), middle, limit.tried)
    tried = torch.where(search.hit & (lower > failed), lower, tried)
    weight = torch.where(missed & ~given_up, search.weight * 2, search.weight)
    return renew(search, over, weight, state.t), Limit(tried, failed), over
