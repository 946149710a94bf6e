"""Attacks that look at another model than the one under test, and who says when they succeeded."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import log
from typing import TypeVar, cast

import torch
from torch import Tensor

from robustkit.attacks.attack import (
    Attack,
    Block,
    Problem,
    State,
    begin,
    observe,
    observe_nearest,
)
from robustkit.attacks.parts.made import Made, best_made, note_made
from robustkit.losses import margin
from robustkit.model import Classifier

Here = TypeVar("Here", Problem, Block)
Found = TypeVar("Found")

DRAWS = 10
"""Answers of a model that draws random numbers which one judgement is made of."""


def moved(
    attack: Attack, where: Callable[[Classifier], Classifier], *, free: bool = False
) -> Attack:
    """`attack` on the model `where(model)` instead of the model under test.

    Its looks there count for the model under test, unless that model is another one and they are
    `free`.
    """

    def spent(here: Here, run: Callable[[Here], Found]) -> Found:
        """What `run` comes to elsewhere."""
        other = where(here.model)
        abstain = here.goal.abstain if other.abstain is not None else None
        before = other.forwards, other.backwards
        found = run(here._replace(model=other, goal=here.goal._replace(abstain=abstain)))
        if not free:
            here.model.forwards += other.forwards - before[0]
            here.model.backwards += other.backwards - before[1]
        return found

    def step(problem: Problem, state: State) -> State:
        """One step there."""
        return spent(problem, lambda there: attack.step(there, state))

    def finish(problem: Problem, state: State) -> State:
        """The last look there."""
        assert attack.finish is not None
        return spent(problem, lambda there: attack.finish(there, state))  # type: ignore[misc]

    def prepare(block: Block) -> Attack:
        """What is learnt there is used there."""
        assert attack.prepare is not None
        return moved(spent(block, attack.prepare), where, free=free)

    return replace(
        attack,
        init=lambda problem: spent(problem, attack.init),
        step=step,
        finish=finish if attack.finish else None,
        prepare=prepare if attack.prepare else None,
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
        prepare=_prepared(attack, judged_last),
    )


def judged_always(attack: Attack) -> Attack:
    """Every point of `attack` is judged on the model under test, for one forward a step.

    Of a model that draws random numbers the mean of several answers counts, so that one lucky draw
    ends nothing.
    """
    note = observe_nearest if attack.minimum_norm else observe

    def look(problem: Problem, x: Tensor, made: Tensor | None, outer: State, inner: State) -> State:
        """The state after asking the model under test about `x`, which was `made` with that."""
        logits = answer(problem.model, x)
        loss = margin(logits, problem.goal)
        outer = outer._replace(x=x, t=inner.t)
        rest: tuple[Tensor, ...] = ()
        if made is None:
            outer = note(problem, outer, logits, loss)
        else:
            outer = note_made(problem, outer, Made(made, best_made(outer)), logits, loss)
            rest = (best_made(outer),)
        inner = inner if attack.minimum_norm else _unjudged(inner)
        return outer._replace(memory=(inner, *rest))

    def init(problem: Problem) -> State:
        """Begin where the attack begins."""
        inner = attack.init(problem)
        return begin(problem, inner.x, (inner, *_now(attack, inner)))

    def step(problem: Problem, state: State) -> State:
        """One step, and what the model under test says of where it leads."""
        inner = attack.step(problem, _inner(state))
        return look(problem, inner.x, next(iter(_now(attack, inner)), None), state, inner)

    def finish(problem: Problem, state: State) -> State:
        """What the model under test says of the attack's own choice."""
        inner = _inner(state)
        inner = attack.finish(problem, inner) if attack.finish else inner
        made = attack.made(inner) if attack.made else None
        return look(problem, inner.x_adv, made, state, inner)

    return replace(
        attack, init=init, step=step, finish=finish,
        made=best_made if attack.made else None,
        prepare=_prepared(attack, judged_always),
    )  # fmt: skip


def answer(model: Classifier, x: Tensor) -> Tensor:
    """The logits of `x`, or a mean of several where the model draws random numbers."""
    if not model.random:
        return model(x)
    return mean_answer([model(x) for _ in range(DRAWS)])


def mean_answer(answers: Sequence[Tensor]) -> Tensor:
    """The logarithm of the mean probabilities of several answers `[B, K]`."""
    return torch.stack([one.log_softmax(1) for one in answers]).logsumexp(0) - log(len(answers))


def _now(attack: Attack, inner: State) -> tuple[Tensor, ...]:
    """What the point that is looked at next is made with, where the threat asks for it."""
    return (cast(Tensor, inner.memory[0]),) if attack.made else ()


def _prepared(
    attack: Attack, judged: Callable[[Attack], Attack]
) -> Callable[[Block], Attack] | None:
    """What prepares `attack`, and then has it judged as before."""
    prepare = attack.prepare
    return None if prepare is None else lambda block: judged(prepare(block))


def _inner(state: State) -> State:
    return cast(State, state.memory[0])


def _unjudged(state: State) -> State:
    """The state without what another model says of success."""
    return state._replace(fooled=torch.zeros_like(state.fooled))
