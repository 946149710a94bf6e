"""An attack is two pure functions, `init(problem) -> State` and `step(problem, state) -> State`.

The engine loops, drops, refills and counts; an attack only says how one step goes. Every tensor of
a `State` leads with the batch, so one generic function drops, joins and saves any attack's state.
To add an attack: write `init` and `step` from `parts/`, return an `Attack`, add a catalogue row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robustkit.draws import Draws
from robustkit.errors import UserError
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.norms import Box, spread
from robustkit.threat import ThreatModel


class Problem(NamedTuple):
    """One batch to be attacked: pictures, goal, threat, and the randomness of each sample.

    `low` and `high` are the lowest and highest values that any pixel of `x` may take; for linf
    they are the whole threat model, so that projecting is one clamp.
    """

    model: Classifier
    x: Tensor
    goal: Goal
    threat: ThreatModel
    draws: Draws
    eps: Tensor
    low: Tensor
    high: Tensor
    restart: int = 0

    @property
    def box(self) -> Box:
        """Lowest and highest perturbation of every pixel."""
        return self.low - self.x, self.high - self.x

    def take(self, index: Tensor) -> "Problem":
        """The problem of some of its samples."""
        return self._replace(
            x=self.x[index],
            goal=self.goal.take(index),
            threat=self.threat.take(index),
            draws=self.draws.take(index),
            eps=self.eps[index],
            low=self.low[index],
            high=self.high[index],
        )

    def with_eps(self, eps: Tensor) -> "Problem":
        """The same problem with the budgets `eps` `[B]`."""
        low, high = self.threat.box(self.x)
        if self.threat.norm_name in ("linf", "l2", "l1"):
            radius = spread(eps, self.x)
            low, high = torch.maximum(low, -radius), torch.minimum(high, radius)
        bounds = self.threat.bounds
        return self._replace(
            eps=eps, low=(self.x + low).clamp(*bounds), high=(self.x + high).clamp(*bounds)
        )

    def project(self, x_adv: Tensor) -> Tensor:
        """The nearest picture that the threat model allows."""
        if self.threat.norm_name == "linf":
            return x_adv.clamp(self.low, self.high)
        delta = self.threat.norm.project(x_adv - self.x, self.eps, self.box)
        return (self.x + delta).clamp(self.low, self.high)

    def remade(self, made: Tensor) -> Tensor:
        """The pictures that a transformation with parameters `made` gives, in bounds and mask."""
        return self.threat.remade(self.x, made).clamp(self.low, self.high)

    def steepest(self, gradient: Tensor) -> Tensor:
        """The picture of the threat model that maximises a linear function, exactly."""
        delta = self.threat.norm.steepest(gradient, self.eps, self.box)
        return (self.x + delta).clamp(self.low, self.high)

    def random_start(self, *purpose: int) -> Tensor:
        """A uniformly drawn picture of the threat model, another one for every restart."""
        draws = self.draws.at(self.restart, *purpose)
        return self.project(self.x + self.threat.norm.sample(self.x, self.eps, draws))


def pose(
    model: Classifier,
    x: Tensor,
    goal: Goal,
    threat: ThreatModel,
    *,
    index: Tensor,
    seed: int = 0,
    restart: int = 0,
) -> Problem:
    """The problem of attacking `x` `[B,C,H,W]`; `index` `[B]` keys each sample's randomness."""
    draws = Draws.keyed(seed, index)
    eps = threat.budget(x)
    return Problem(model, x, goal, threat, draws, eps, x, x, restart).with_eps(eps)


class State(NamedTuple):
    """Where an attack stands, every tensor `[B, ...]`.

    `x` is the point to look at next; `x_adv` the best one seen, with its `loss` and `size`;
    `fooled` is sticky; `t` counts steps; `memory` is a (nested) tuple of the attack's own tensors.
    """

    x: Tensor
    x_adv: Tensor
    loss: Tensor
    fooled: Tensor
    size: Tensor
    t: Tensor
    memory: tuple[Any, ...] = ()


def begin(problem: Problem, x: Tensor, memory: tuple[Any, ...] = ()) -> State:
    """The state before the first look, at `x`; nothing is known yet."""
    rows = len(x)
    worst = x.new_full((rows,), -torch.inf)
    no = torch.zeros(rows, dtype=torch.bool, device=x.device)
    t = torch.zeros(rows, dtype=torch.int64, device=x.device)
    return State(x, problem.x, worst, no, torch.full_like(worst, torch.inf), t, memory)


def pick(rows: Tensor, x: Tensor, otherwise: Tensor) -> Tensor:
    """The pictures of `x` where `rows` `[B]`, else those of `otherwise`; both are finite.

    With weights of exactly 0 and 1 `lerp` returns its ends bit for bit, at a fifth of the time that
    `where` takes to spread a condition over pictures.
    """
    return torch.lerp(otherwise, x, spread(rows.to(x.dtype), x))


def improved(problem: Problem, state: State, logits: Tensor, loss: Tensor) -> Tensor:
    """Whether `state.x` is to be kept, `[B]`: the first success, until then the best loss."""
    return (problem.goal.reached(logits) | (loss > state.loss)) & ~state.fooled


def observe(problem: Problem, state: State, logits: Tensor, loss: Tensor) -> State:
    """Note what the model says at `state.x`: the first success stays, until then the best loss."""
    reached = problem.goal.reached(logits)
    better = improved(problem, state, logits, loss)
    return state._replace(
        x_adv=pick(better, state.x, state.x_adv),
        loss=torch.where(better, loss, state.loss),
        fooled=state.fooled | reached,
    )


def observe_nearest(problem: Problem, state: State, logits: Tensor, loss: Tensor) -> State:
    """Note what the model says at `state.x`: the smallest success stays."""
    reached = problem.goal.reached(logits)
    size = problem.threat.size(state.x, problem.x)
    better = reached & (size < state.size)
    return state._replace(
        x_adv=pick(better, state.x, state.x_adv),
        loss=torch.where(better, loss, state.loss),
        size=torch.where(better, size, state.size),
        fooled=state.fooled | reached,
    )


Step = Callable[[Problem, State], State]


class Block(NamedTuple):
    """All samples that an attack will meet, for one that learns from all of them at first.

    Tensors `[N, ...]` lie on the host; `batch_size` is what the device takes at once.
    """

    model: Classifier
    x: Tensor
    goal: Goal
    threat: ThreatModel
    batch_size: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Attack:
    """A configured attack.

    `steps` is how many steps a sample gets; `finish`, if any, looks at the last point. Restart
    r > 0 runs on what earlier ones left over, with `problem.restart = r`. A `minimum_norm` attack
    goes on after a success, to a smaller one. `gradient` says whether it needs gradients; without,
    it runs under `no_grad`. Under a threat without a norm, `made` tells how `x_adv` was made, for
    the referee to make it again. `prepare`, if any, is called with all samples before the first of
    them is begun, and gives the attack to run.
    """

    name: str
    init: Callable[[Problem], State]
    step: Step
    steps: int
    finish: Step | None = None
    restarts: int = 1
    minimum_norm: bool = False
    gradient: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    made: Callable[[State], Tensor] | None = None
    prepare: "Callable[[Block], Attack] | None" = None

    def __post_init__(self) -> None:
        """Refuse an attack that would try nothing, and so find everything robust."""
        if self.steps < 1 or self.restarts < 1:
            raise UserError(
                "an attack of at least one step and one restart",
                f"{self.name} with {self.steps} steps and {self.restarts} restarts",
                "leave steps, queries, targets and restarts away for their defaults",
            )


@dataclass(frozen=True)
class AttackInfo:
    """A catalogue row: what an attack is and claims; the contract tests verify the claims.

    `kind`: "fixed-budget" or "minimum-norm". `access`: "white-box" (gradients), "scores",
    "decisions" or "none" (blind). What a `joint` attack does to a sample depends on all of them.
    """

    name: str
    build: Callable[..., Attack]
    norms: tuple[str, ...]
    kind: str
    access: str
    cost: str
    paper: str
    reference: str
    deterministic: bool = True
    targeted: bool = True
    joint: bool = False


def map_rows(change: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """Apply `change` to every tensor of nested tuples."""
    if isinstance(tree, Tensor):
        return change(tree)
    parts = [map_rows(change, part) for part in tree]
    return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)


def join_rows(first: Any, second: Any) -> Any:
    """Concatenate two equal nests of tensors along the batch."""
    if isinstance(first, Tensor):
        return torch.cat((first, second))
    parts = [join_rows(a, b) for a, b in zip(first, second, strict=True)]
    return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)


def choose_rows(mask: Tensor, yes: Any, no: Any) -> Any:
    """Of two equal nests of tensors the rows of `yes` where `mask` `[B]` holds, else of `no`."""
    if isinstance(yes, Tensor):
        return torch.where(spread(mask, yes), yes, no)
    parts = [choose_rows(mask, a, b) for a, b in zip(yes, no, strict=True)]
    return type(yes)(*parts) if hasattr(yes, "_fields") else tuple(parts)


def unrolled(attack: Attack, problem: Problem) -> State:
    """Run one attack on one batch to the end, nothing dropped: for training and for tests."""
    state = attack.init(problem)
    for _ in range(attack.steps):
        state = attack.step(problem, state)
    return attack.finish(problem, state) if attack.finish else state
