"""Auto-PGD: PGD that finds its own step size (Croce & Hein 2020, arXiv 2003.01690, algorithm 1).

The l1 form is that of Croce & Hein 2021 (arXiv 2103.01208, algorithm 1): sparse steps, exact
projection onto ball and box, and if wanted a start in wider balls. APGD-T runs the targeted DLR
loss against the most likely wrong classes, one a restart.

Deviations: cross-entropy is replaced by the log odds, a monotone function of it whose gradient has
the same direction, so that every comparison and every step is the published one where
cross-entropy does not vanish; in l2 the projection onto ball and box is exact, where the published
one scales and then clips; in l1 and l2 the last look is followed by one exact linear step. Kept as
published: at the first checkpoint the reference compares the first loss with a zero, so that the
first step counts as a rise for cross-entropy and never else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Problem, State, begin, choose_rows, observe
from robustkit.attacks.parts.climb import last_look
from robustkit.attacks.parts.gradient import Look, averaged
from robustkit.attacks.parts.start import surface
from robustkit.attacks.parts.targets import likely
from robustkit.errors import UserError
from robustkit.losses import LOSSES, Loss, dlr_towards
from robustkit.norms import NORMS, spread

MOMENTUM = 0.75
RHO = 0.75


class Memory(NamedTuple):
    """What APGD remembers of each sample.

    `best*` is the point of the highest loss so far; `length` the step size; `period` the steps
    between checkpoints, `since` those since the last one, `rises` how many raised the loss;
    `then` and `halved` are the best loss and the decision at the last checkpoint. `share` and
    `sparsity` belong to the l1 form; `target` is the class that APGD-T goes for.
    """

    last: Tensor
    best: Tensor
    best_gradient: Tensor
    best_loss: Tensor
    loss: Tensor
    length: Tensor
    period: Tensor
    since: Tensor
    rises: Tensor
    then: Tensor
    halved: Tensor
    share: Tensor
    sparsity: Tensor
    target: Tensor


def apgd(
    *,
    steps: int = 100,
    restarts: int = 1,
    loss: str = "log-odds",
    eot: int = 1,
    wide: bool = False,
    name: str = "apgd-ce",
) -> Attack:
    """APGD with any loss. Norms: linf, l2, l1. Published: 100 steps, one restart.

    `wide` is for l1 only: 30 % of the steps in a ball of 3 eps, 30 % in one of 2 eps, the rest in
    that of eps, each from the best point of the one before. `eot` averages that many looks a step.

    >>> apgd().settings["rho"]
    0.75
    """
    LOSSES[loss]  # One that does not exist is refused here, not when the first sample is met.
    return _attack(_Recipe(name, loss, steps, eot, wide), restarts)


def apgd_dlr(*, steps: int = 100, restarts: int = 1, eot: int = 1) -> Attack:
    """APGD with the difference-of-logits-ratio loss; with two classes it is the margin."""
    return apgd(steps=steps, restarts=restarts, loss="dlr", eot=eot, name="apgd-dlr")


def apgd_t(*, steps: int = 100, targets: int = 9, eot: int = 1, wide: bool = False) -> Attack:
    """APGD-T: the targeted DLR loss against the `targets` most likely wrong classes in turn.

    With fewer wrong classes than targets they are gone through again, from other starts. `wide`
    is that of `apgd`; published for l1: 5 targets and wide.
    """
    return _attack(_Recipe("apgd-t", "dlr", steps, eot, wide, targeted=True), targets)


def _attack(recipe: "_Recipe", restarts: int) -> Attack:
    shown = {
        "steps": recipe.steps, "restarts": restarts, "loss": recipe.loss, "eot": recipe.eot,
        "wide": recipe.wide, "rho": RHO, "momentum": MOMENTUM, "step_size": "2 eps, adaptive",
    }  # fmt: skip
    return Attack(
        recipe.name, recipe.init, recipe.step, recipe.looks, recipe.finish, restarts, settings=shown
    )


@dataclass(frozen=True)
class _Recipe:
    """An APGD's settings, and its `init`, `step` and `finish`.

    It runs in phases, each of which looks once more than it moves; without `wide` there is one.
    """

    name: str
    loss: str
    steps: int
    eot: int
    wide: bool
    targeted: bool = False

    @property
    def phases(self) -> list[int]:
        """How many times each phase moves."""
        wide = ceil(0.3 * self.steps)
        return [wide, wide, self.steps - 2 * wide] if self.wide else [self.steps]

    @property
    def starts(self) -> list[int]:
        """The value of `t` at which each phase begins."""
        moves = self.phases
        return [sum(moves[:phase]) + phase for phase in range(len(moves))]

    @property
    def looks(self) -> int:
        """How many steps the engine has to take; the last look is that of `finish`."""
        return self.starts[-1] + self.phases[-1]

    def periods(self, norm: str) -> list[int]:
        """The steps to the first checkpoint of each phase."""
        share = 0.04 if norm == "l1" else 0.22
        return [max(int(share * moves), 1) for moves in self.phases]

    def ball(self, problem: Problem, t: Tensor) -> Problem:
        """The problem with the budget of the phase that `t` lies in: 3, 2, then 1 eps."""
        if not self.wide:
            return problem
        factors = list(range(len(self.starts), 0, -1))
        return problem.with_eps(problem.eps * _stairs(t, self.starts, factors))

    def aimed(self, target: Tensor) -> Loss:
        """The loss; for APGD-T that of going towards `target`."""
        return dlr_towards(target) if self.targeted else LOSSES[self.loss]

    def init(self, problem: Problem) -> State:
        """Start on the surface of the ball."""
        if self.wide and problem.threat.norm_name != "l1":
            raise UserError("the norm l1 with wide=true", problem.threat.text, "leave out wide")
        target = likely(problem)[0] if self.targeted else problem.goal.label
        ball = self.ball(problem, torch.zeros_like(target))
        x = surface(ball)
        return begin(problem, x, self.fresh(ball, x, target, torch.zeros_like(target)))

    def fresh(self, ball: Problem, x: Tensor, target: Tensor, t: Tensor) -> Memory:
        """The memory at the beginning of the phase that `t` lies in, at `x`."""
        norm = ball.threat.norm_name
        low, count = torch.full_like(ball.eps, -torch.inf), torch.zeros_like(target)
        numbers = float(x[0].numel())
        sparsity = NORMS["l0"].size(x - ball.x) if self.wide else torch.full_like(low, numbers)
        return Memory(
            last=x, best=x, best_gradient=torch.zeros_like(x), best_loss=low, loss=low,
            length=ball.eps * (1.0 if norm == "l1" else 2.0),
            period=_stairs(t, self.starts, self.periods(norm)), since=count, rises=count,
            then=low, halved=torch.ones_like(low, dtype=torch.bool),
            share=sparsity / numbers / 1.5 if self.wide else torch.full_like(low, 0.2),
            sparsity=sparsity.clamp_min(1), target=target,
        )  # fmt: skip

    def step(self, problem: Problem, state: State) -> State:
        """Look, note, shorten the step at a checkpoint, move."""
        memory: Memory = state.memory  # type: ignore[assignment]
        ball = self.ball(problem, state.t)
        seen = averaged(self.aimed(memory.target), self.eot)(problem, state)
        after = self.observe(problem, state, seen)
        age = state.t - _stairs(state.t, self.starts, self.starts)
        vanishing = self.loss in ("log-odds", "cross-entropy") and problem.goal.target is None
        memory = _note(memory, state.x, seen, age, rises_at_first=vanishing)
        memory, x, gradient = self.checkpoint(ball, state.x, memory, seen)
        following = _move(ball, x, memory, gradient, age)
        after = after._replace(x=following, t=state.t + 1, memory=memory._replace(last=x))
        return self.enter(problem, after) if self.wide else after

    def observe(self, problem: Problem, state: State, seen: Look) -> State:
        """Note a success, but none of a wider ball than asked for."""
        noted = observe(problem, state, seen.logits, seen.loss)
        kept: State = choose_rows(state.t >= self.starts[-1], noted, state) if self.wide else noted
        return kept

    def checkpoint(
        self, ball: Problem, x: Tensor, memory: Memory, seen: Look
    ) -> tuple[Memory, Tensor, Tensor]:
        """At a checkpoint: shorten the step where it does not pay, go back to the best point."""
        due = memory.since == memory.period
        if ball.threat.norm_name == "l1":
            memory, back = _sparser(ball, memory, due)
        else:
            shorter, least = max(int(0.03 * self.steps), 1), max(int(0.06 * self.steps), 1)
            memory, back = _halve(memory, due, shorter, least)
        none = torch.where(due, 0, memory.since), torch.where(due, 0, memory.rises)
        wide = spread(back, x)
        return (
            memory._replace(since=none[0], rises=none[1]),
            torch.where(wide, memory.best, x),
            torch.where(wide, memory.best_gradient, seen.gradient),
        )

    def enter(self, problem: Problem, state: State) -> State:
        """Where a smaller ball begins: start in it from the best point of the wider one."""
        memory: Memory = state.memory  # type: ignore[assignment]
        ball = self.ball(problem, state.t)
        x = ball.project(memory.best)
        anew = state._replace(x=x, memory=self.fresh(ball, x, memory.target, state.t))
        begins = (state.t == self.starts[1]) | (state.t == self.starts[2])
        entered: State = choose_rows(begins, anew, state)
        return entered

    def finish(self, problem: Problem, state: State) -> State:
        """Look at the last point, and in l1 and l2 at the end of an exact linear step."""
        memory: Memory = state.memory  # type: ignore[assignment]
        return last_look(problem, state, self.aimed(memory.target))


def _stairs(t: Tensor, starts: Sequence[int], values: Sequence[int]) -> Tensor:
    """For every `t` `[B]` the value of the phase that it lies in."""
    level = torch.full_like(t, values[0])
    for start, (before, after) in zip(starts[1:], pairwise(values), strict=True):
        level = level + (t >= start) * (after - before)
    return level


def _note(memory: Memory, x: Tensor, seen: Look, age: Tensor, *, rises_at_first: bool) -> Memory:
    """Count the steps and the rises, and keep the best point; the first look only begins."""
    begun = age > 0
    better = seen.loss > memory.best_loss
    wide = spread(better, x)
    # The reference's first comparison is with a zero, which cross-entropy always exceeds.
    first = (seen.loss > 0) | rises_at_first
    rose = torch.where(age == 1, first, seen.loss > memory.loss)
    return memory._replace(
        best=torch.where(wide, x, memory.best),
        best_gradient=torch.where(wide, seen.gradient, memory.best_gradient),
        best_loss=torch.where(better, seen.loss, memory.best_loss),
        loss=seen.loss,
        since=memory.since + begun,
        rises=memory.rises + (begun & rose),
        then=torch.where(begun, memory.then, seen.loss),
    )


def _halve(memory: Memory, due: Tensor, shorter: int, least: int) -> tuple[Memory, Tensor]:
    """Halve the step where too few steps rose, or where the best loss stood still (sec. 3)."""
    few = memory.rises <= RHO * memory.period
    stuck = ~memory.halved & (memory.then >= memory.best_loss)
    back = due & (few | stuck)
    return memory._replace(
        length=torch.where(back, memory.length / 2, memory.length),
        halved=torch.where(due, back, memory.halved),
        then=torch.where(due, memory.best_loss, memory.then),
        period=torch.where(due, (memory.period - shorter).clamp_min(least), memory.period),
    ), back


def _sparser(ball: Problem, memory: Memory, due: Tensor) -> tuple[Memory, Tensor]:
    """The l1 form's checkpoint: sparser steps while the best perturbation gets sparser."""
    count = NORMS["l0"].size(memory.best - ball.x)
    back = due & (count / memory.sparsity < 0.95)
    shrunk = torch.where(back, ball.eps, memory.length / 1.5).clamp(ball.eps / 10, ball.eps)
    return memory._replace(
        share=torch.where(due, count / memory.best[0].numel() / 1.5, memory.share),
        sparsity=torch.where(due, count, memory.sparsity).clamp_min(1),
        length=torch.where(due, shrunk, memory.length),
    ), back


def _move(ball: Problem, x: Tensor, memory: Memory, gradient: Tensor, age: Tensor) -> Tensor:
    """One step of the current length; from the second on with momentum (eq. 2)."""
    norm = ball.threat.norm
    if norm.name == "l1":
        return ball.project(x + _sparse_step(gradient, memory))
    ahead = ball.project(x + norm.steepest(gradient, memory.length, None))
    pulled = x + MOMENTUM * (ahead - x) + (1 - MOMENTUM) * (x - memory.last)
    return torch.where(spread(age > 0, x), ball.project(pulled), ahead)


def _sparse_step(gradient: Tensor, memory: Memory) -> Tensor:
    """Equal steps on the share of pixels with the largest gradients, of l1 size `length`."""
    flat = gradient.flatten(1).abs()
    numbers = flat.shape[1]
    rank = ((1 - memory.share) * numbers).clamp(0, numbers - 1).long()
    threshold = flat.sort(1).values.gather(1, rank[:, None])
    sign = (gradient.flatten(1) * (flat >= threshold)).sign()
    size = sign.abs().sum(1, keepdim=True).clamp_min(1)
    return (memory.length[:, None] * sign / size).reshape(gradient.shape)
