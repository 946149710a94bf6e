"""Attacks that look at another model than the one under test, and who says when they succeeded."""

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Problem, State, begin, observe, observe_nearest
from robustkit.losses import margin
from robustkit.model import Classifier


def moved(
    attack: Attack, where: Callable[[Classifier], Classifier], *, free: bool = False
) -> Attack:
    """`attack` on the model `where(model)` instead of the model under test.

    Its looks there count for the model under test, unless that model is another one and they are
    `free`.
    """

    def spent(problem: Problem, run: Callable[[Problem], State]) -> State:
        """What `run` comes to elsewhere."""
        other = where(problem.model)
        abstain = problem.goal.abstain if other.abstain is not None else None
        before = other.forwards, other.backwards
        state = run(problem._replace(model=other, goal=problem.goal._replace(abstain=abstain)))
        if not free:
            problem.model.forwards += other.forwards - before[0]
            problem.model.backwards += other.backwards - before[1]
        return state

    def step(problem: Problem, state: State) -> State:
        """One step there."""
        return spent(problem, lambda there: attack.step(there, state))

    def finish(problem: Problem, state: State) -> State:
        """The last look there."""
        assert attack.finish is not None
        return spent(problem, lambda there: attack.finish(there, state))  # type: ignore[misc]

    return replace(
        attack,
        init=lambda problem: spent(problem, attack.init),
        step=step,
        finish=finish if attack.finish else None,
    )


def judged_last(attack: Attack) -> Attack:
    """What `attack` itself says of success ends nothing: its best point is judged, once.

    For who attacks without knowing, or without asking, the model under test.
    """

    def finish(problem: Problem, state: State) -> State:
        """Judge the best point on the model under test."""
        if attack.finish:
            state = attack.finish(problem, state)
        return state._replace(fooled=problem.goal.reached(problem.model(state.x_adv)))

    return replace(
        attack,
        init=lambda problem: _unjudged(attack.init(problem)),
        step=lambda problem, state: _unjudged(attack.step(problem, state)),
        finish=finish,
    )


def judged_always(attack: Attack, draws: int = 1) -> Attack:
    """Every point of `attack` is judged on the model under test, for one forward a step.

    Of a model that draws random numbers the mean of `draws` answers counts, so that one lucky draw
    ends nothing.
    """
    note = observe_nearest if attack.minimum_norm else observe

    def look(problem: Problem, x: Tensor, outer: State, inner: State) -> State:
        """The state after asking the model under test about `x`."""
        logits = problem.model(x)
        for _ in range(draws - 1):
            logits = logits + problem.model(x)
        logits = logits / draws
        inner = inner if attack.minimum_norm else _unjudged(inner)
        outer = outer._replace(x=x, t=inner.t, memory=(inner,))
        return note(problem, outer, logits, margin(logits, problem.goal))

    def init(problem: Problem) -> State:
        """Begin where the attack begins."""
        inner = attack.init(problem)
        return begin(problem, inner.x, (inner,))

    def step(problem: Problem, state: State) -> State:
        """One step, and what the model under test says of where it leads."""
        inner = attack.step(problem, _inner(state))
        return look(problem, inner.x, state, inner)

    def finish(problem: Problem, state: State) -> State:
        """What the model under test says of the attack's own choice."""
        inner = _inner(state)
        inner = attack.finish(problem, inner) if attack.finish else inner
        return look(problem, inner.x_adv, state, inner)

    return replace(attack, init=init, step=step, finish=finish)


def _inner(state: State) -> State:
    return cast(State, state.memory[0])


def _unjudged(state: State) -> State:
    """The state without what another model says of success."""
    return state._replace(fooled=torch.zeros_like(state.fooled))
