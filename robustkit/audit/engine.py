"""The engine owns the loop, the clock, the counters and every synchronisation with the device.

Slots whose sample is fooled or finished are refilled from the queue (continuous batching), so the
batch stays full; when the queue is empty the batch shrinks. What a sample meets does not depend
on its neighbours: randomness is keyed by sample, and no step looks across the batch.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Block, Problem, State, join_rows, map_rows, pose
from robustkit.audit.referee import confirms
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

# A refill smaller than this share of the batch costs more than the slots it fills.
REFILL_SHARE = 8


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be attacked: pictures `[N,C,H,W]` in [0,1], their goal, and their keys `[N]`.

    `x` may lie on the host; batches cross to the model's device as they are needed.
    """

    model: Classifier
    x: Tensor
    goal: Goal
    threat: ThreatModel
    index: Tensor

    def block(self, batch_size: int, seed: int) -> Block:
        """All samples, for an attack that prepares itself."""
        return Block(self.model, self.x, self.goal, self.threat, batch_size, seed)

    def pose(self, rows: Tensor, seed: int, restart: int) -> Problem:
        """The problem of some of the samples, on the device."""
        device = self.model.device
        return pose(
            self.model,
            self.x[rows].to(device),
            self.goal.take(rows).to(device),
            self.threat.take(rows),
            index=self.index[rows].to(device),
            seed=seed,
            restart=restart,
        )


@dataclass(frozen=True)
class Outcome:
    """What an attack claims, every tensor `[N]` on the host; the referee has the last word.

    `fooled` is a claim; `queries` counts forwards of that sample, `steps` its steps; `made` is what
    pictures were made with, where the threat asks for it.
    """

    x_adv: Tensor
    fooled: Tensor
    loss: Tensor
    size: Tensor
    steps: Tensor
    queries: Tensor
    seconds: float
    forwards: int
    backwards: int
    complete: bool = True
    made: Tensor | None = None


class _Results:
    """Host columns that finished slots are written into."""

    def __init__(self, task: Task, attack: Attack) -> None:
        count = len(task.x)
        self.x_adv = task.x.clone()
        self.maker = attack.made
        self.made: Tensor | None = None
        self.fooled = torch.zeros(count, dtype=torch.bool)
        self.loss = torch.full((count,), -torch.inf)
        self.size = torch.full((count,), torch.inf)
        self.steps = torch.zeros(count, dtype=torch.int64)
        self.queries = torch.zeros(count)

    def write(self, rows: Tensor, state: State, queries: Tensor) -> None:
        """Keep a restart's result where it is better than what is there."""
        rows = rows.cpu()
        fooled, loss, size = state.fooled.cpu(), state.loss.cpu(), state.size.cpu()
        better = (fooled & ~self.fooled[rows]) | (size < self.size[rows])
        better |= ~self.fooled[rows] & (loss > self.loss[rows])
        kept = rows[better]
        self.x_adv[kept] = state.x_adv[better.to(state.x_adv.device)].cpu()
        self.loss[kept], self.size[kept] = loss[better], size[better]
        if self.maker:
            made = self.maker(state).cpu()
            if self.made is None:
                self.made = made.new_zeros((len(self.fooled), *made.shape[1:]))
            self.made[kept] = made[better]
        self.fooled[rows] |= fooled
        self.steps[rows] += state.t.cpu()
        self.queries[rows] += queries.cpu()


@dataclass(frozen=True)
class Engine:
    """How attacks are run: batch size, seed, dropping of the fooled, refilling, a deadline.

    `deadline` is a `time.monotonic()` value; past it no new sample is begun and the outcome is not
    complete. `progress` is called with the number of samples just finished.
    """

    batch_size: int = 64
    seed: int = 0
    dropping: bool = True
    deadline: float | None = None
    progress: Callable[[int], None] | None = None

    def with_batch_size(self, batch_size: int) -> "Engine":
        """The same engine with other batches."""
        return replace(self, batch_size=batch_size)

    def run(self, attack: Attack, task: Task) -> Outcome:
        """Attack every sample of the task; restarts meet only what earlier ones left over."""
        model, started = task.model, time.perf_counter()
        before = model.forwards, model.backwards
        results = _Results(task, attack)
        complete = True
        rows = torch.arange(len(task.x))
        graph = contextlib.nullcontext() if attack.gradient else torch.no_grad()
        with torch.no_grad(), graph:
            if attack.prepare and len(rows):
                attack = attack.prepare(task.block(self.batch_size, self.seed))
            for restart in range(attack.restarts):
                left = rows if attack.minimum_norm else rows[~results.fooled]
                complete &= self._pass(attack, task, results, left, restart)
        if self.progress and len(rows):
            self.progress(len(rows))
        return Outcome(
            results.x_adv, results.fooled, results.loss, results.size, results.steps,
            results.queries, time.perf_counter() - started,
            model.forwards - before[0], model.backwards - before[1], complete, results.made,
        )  # fmt: skip

    def _pass(
        self, attack: Attack, task: Task, results: _Results, queue: Tensor, restart: int
    ) -> bool:
        """One restart over the samples of `queue`; whether it got through all of them."""
        slots: _Slots | None = None
        while len(queue) or slots:
            late = self.deadline is not None and time.monotonic() > self.deadline
            if late and not slots:
                return False
            room = self.batch_size - (len(slots.rows) if slots else 0)
            if len(queue) and not late and room * REFILL_SHARE >= self.batch_size:
                fresh = _Slots.open(attack, task, queue[:room], self.seed, restart)
                slots, queue = slots.join(fresh) if slots else fresh, queue[room:]
            elif late:
                queue = queue[:0]
            if slots is None:
                return False
            slots = slots.step(attack)
            slots = self._clear(attack, slots, results)
        return not (self.deadline is not None and time.monotonic() > self.deadline and len(queue))

    def _clear(self, attack: Attack, slots: "_Slots", results: _Results) -> "_Slots | None":
        """Write finished slots and keep the rest: the one synchronisation a step."""
        over = slots.state.t >= attack.steps
        if self.dropping and not attack.minimum_norm:
            slots = slots._replace(state=_confirmed(slots.problem, slots.state))
            over = over | slots.state.fooled
        done = over.nonzero().squeeze(1)
        if not len(done):
            return slots
        slots.take(done).close(attack, results)
        kept = (~over).nonzero().squeeze(1)
        return slots.take(kept) if len(kept) else None


class _Slots(NamedTuple):
    """The samples being attacked: their rows in the task, problem, state, and queries so far."""

    rows: Tensor
    problem: Problem
    state: State
    queries: Tensor

    @classmethod
    def open(cls, attack: Attack, task: Task, rows: Tensor, seed: int, restart: int) -> "_Slots":
        """Put samples into fresh slots."""
        problem = task.pose(rows, seed, restart)
        before = task.model.forwards
        state = attack.init(problem)
        spent = (task.model.forwards - before) / len(rows)
        queries = torch.full((len(rows),), spent, device=task.model.device)
        return cls(rows.to(task.model.device), problem, state, queries)

    def step(self, attack: Attack) -> "_Slots":
        """One step of every slot."""
        before = self.problem.model.forwards
        state = attack.step(self.problem, self.state)
        spent = (self.problem.model.forwards - before) / len(self.rows)
        return self._replace(state=state, queries=self.queries + spent)

    def take(self, kept: Tensor) -> "_Slots":
        """Some of the slots."""
        return _Slots(
            self.rows[kept],
            self.problem.take(kept),
            map_rows(lambda part: part[kept], self.state),
            self.queries[kept],
        )

    def join(self, other: "_Slots") -> "_Slots":
        """These slots and others behind them."""
        return _Slots(
            torch.cat((self.rows, other.rows)),
            join_problems(self.problem, other.problem),
            join_rows(self.state, other.state),
            torch.cat((self.queries, other.queries)),
        )

    def close(self, attack: Attack, results: _Results) -> None:
        """Take the last look, where one is due, and write the results."""
        state, queries = self.state, self.queries
        unfinished = (~state.fooled).nonzero().squeeze(1)
        if attack.minimum_norm:
            unfinished = torch.arange(len(state.t), device=state.t.device)
        if attack.finish and len(unfinished):
            due = self.take(unfinished)
            before = self.problem.model.forwards
            last = attack.finish(due.problem, due.state)
            if not attack.minimum_norm:
                last = _confirmed(due.problem, last)
            spent = (self.problem.model.forwards - before) / len(unfinished)
            results.write(due.rows, last, due.queries + spent)
            rest = state.fooled.nonzero().squeeze(1)
            if attack.minimum_norm or not len(rest):
                return
            due = self.take(rest)
            results.write(due.rows, due.state, due.queries)
            return
        results.write(self.rows, state, queries)


def _confirmed(problem: Problem, state: State) -> State:
    """The state without successes that fresh answers of a random model do not bear out.

    Where one is taken back the next point is as good as any: the loss of that draw was luck too.
    """
    if not problem.model.random or not state.fooled.any():
        return state
    claimed = state.fooled.nonzero().squeeze(1)
    held = confirms(problem.model, state.x_adv[claimed], problem.goal.take(claimed))
    lucky = claimed[~held.to(claimed.device)]
    lowest = torch.finfo(state.loss.dtype).min
    return state._replace(
        fooled=state.fooled.index_fill(0, lucky, False),
        loss=state.loss.index_fill(0, lucky, lowest),
    )


def join_problems(first: Problem, second: Problem) -> Problem:
    """Two problems of the same model and threat as one batch."""
    targets = first.goal.target, second.goal.target
    target = None if targets[0] is None else join_rows(*targets)
    eps = torch.cat((first.eps, second.eps))
    return first._replace(
        x=join_rows(first.x, second.x),
        goal=first.goal._replace(y=join_rows(first.goal.y, second.goal.y), target=target),
        threat=_joined_threat(first, second, eps),
        draws=join_rows(first.draws, second.draws),
        eps=eps,
        low=join_rows(first.low, second.low),
        high=join_rows(first.high, second.high),
    )


def _joined_threat(first: Problem, second: Problem, eps: Tensor) -> ThreatModel:
    """The common threat; where budgets or masks differ by sample, it carries the joined ones."""
    threat = first.threat
    if isinstance(threat.eps, Tensor) and threat.eps.dim():
        threat = threat.with_eps(eps)
    if threat.mask is not None and threat.mask.dim() == 4:
        # A mask of one row is shared, or that of a single sample: as many rows as samples is both.
        masks = [
            part.threat.mask.expand(len(part.x), -1, -1, -1)
            for part in (first, second)
            if part.threat.mask is not None
        ]
        threat = replace(threat, mask=torch.cat(masks))
    return threat
