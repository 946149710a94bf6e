"""Boundary attack: a random walk along the boundary, towards the picture, by decisions alone.

Brendel et al. 2018, arXiv 1712.04248, algorithm 1: a step on the sphere around the picture, then
one towards it, kept where it still succeeds; both lengths follow the share of successes. Every
query is one step here: each tenth asks about the step on the sphere alone, to count how often the
boundary is about flat. Deviations: the start comes near by bisection first; the shares are those
of whole runs of 30 and 10 queries, not of sliding windows.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Problem, State, begin, observe_nearest
from robustkit.attacks.parts.noise import noise
from robustkit.attacks.parts.reach import reach
from robustkit.norms import NORMS, TINY, spread

HALVINGS = 10
PERIOD = 10
ADAPTATION = 1.5
WALKS, TURNS = 30, 10


class Tries(NamedTuple):
    """How many proposals of a kind were asked about, and how many succeeded, `[B]`."""

    asked: Tensor
    hits: Tensor


class Memory(NamedTuple):
    """`best` is the nearest success; all else is `[B]`.

    `found` says whether there is one yet, `halvings` how many of the first bisection are left;
    `low` is how much of the way to `best` is too little. `turn` and `pull` are the lengths of the
    two steps, relative to the distance; `turns` and `walks` count how the proposals fared.
    """

    best: Tensor
    found: Tensor
    halvings: Tensor
    low: Tensor
    turn: Tensor
    pull: Tensor
    turns: Tries
    walks: Tries


def boundary(*, queries: int = 25000, turn: float = 0.01, pull: float = 0.01) -> Attack:
    """The boundary attack in l2; `turn` and `pull` are the first relative lengths of its steps.

    `queries` is a hard budget a sample: every step is one query.

    >>> boundary(queries=500).steps
    500
    """

    def init(problem: Problem) -> State:
        """Where a sample begins."""
        zero = torch.zeros_like(problem.eps)
        none = Tries(zero, zero)
        memory = Memory(
            best=problem.x, found=zero > 0, halvings=zero + HALVINGS, low=zero,
            turn=zero + turn, pull=zero + pull, turns=none, walks=none,
        )  # fmt: skip
        return begin(problem, noise(problem, zero.long()), memory)

    def step(problem: Problem, state: State) -> State:
        """One step of every sample."""
        logits = problem.model(state.x)
        reached = problem.goal.reached(logits)
        state = observe_nearest(problem, state, logits, reached.to(state.loss))
        memory = Memory(*state.memory)
        walking = memory.found & (memory.halvings <= 0)
        memory = _adapted(_counted(memory, walking, reached, state.t))
        memory = _started(memory, ~walking, reached, state.x)
        nearer = walking & reached & (state.t % PERIOD > 0)
        best = torch.where(spread(nearer, state.x), state.x, memory.best)
        memory = memory._replace(best=best)
        return state._replace(x=_next(problem, memory, state.t + 1), t=state.t + 1, memory=memory)

    settings = {"queries": queries, "turn": turn, "pull": pull}
    return Attack(
        "boundary", init, step, queries, minimum_norm=True, gradient=False, settings=settings
    )


def _started(memory: Memory, starting: Tensor, reached: Tensor, x: Tensor) -> Memory:
    """Until there is a success, wait for one; then halve the way to it a few times."""
    first = starting & ~memory.found & reached
    halving = starting & memory.found
    middle = (memory.low + 1) / 2
    return memory._replace(
        best=torch.where(spread(first | (halving & reached), x), x, memory.best),
        found=memory.found | first,
        halvings=memory.halvings - halving.to(middle),
        # `best` moves to the middle where that succeeds: what was 1 is the middle now.
        low=torch.where(halving, torch.where(reached, memory.low / middle, middle), memory.low),
    )


def _counted(memory: Memory, walking: Tensor, reached: Tensor, t: Tensor) -> Memory:
    """Count how the proposal fared that was asked about at `t`."""
    turning = walking & (t % PERIOD == 0)
    pulling = walking & ~turning
    turns, walks = memory.turns, memory.walks
    return memory._replace(
        turns=Tries(turns.asked + turning, turns.hits + (turning & reached)),
        walks=Tries(walks.asked + pulling, walks.hits + (pulling & reached)),
    )


def _adapted(memory: Memory) -> Memory:
    """Longer steps where half of the turns and a quarter of the walks succeed, else shorter."""
    turn, turns = _factor(memory.turns, TURNS, least=0.2, most=0.5)
    walk, walks = _factor(memory.walks, WALKS, least=0.1, most=0.25)
    return memory._replace(
        turn=memory.turn * turn, pull=memory.pull * turn * walk, turns=turns, walks=walks
    )


def _factor(tries: Tries, run: int, *, least: float, most: float) -> tuple[Tensor, Tries]:
    """By how much to stretch a step after a full run, and the counts that are left."""
    full = tries.asked >= run
    share = tries.hits / tries.asked.clamp_min(1)
    factor = torch.where(share > most, ADAPTATION, torch.where(share < least, 1 / ADAPTATION, 1.0))
    left = Tries(*(torch.where(full, 0, count) for count in tries))
    return torch.where(full, factor, 1.0), left


def _next(problem: Problem, memory: Memory, t: Tensor) -> Tensor:
    """The next query of every sample: another start, a middle, or a proposal of the walk."""
    away = memory.best - problem.x
    middle = reach(problem, away * spread((memory.low + 1) / 2, away))
    proposal = _proposal(problem, memory, t)
    x = torch.where(spread(memory.halvings > 0, away), middle, proposal)
    return torch.where(spread(memory.found, away), x, noise(problem, t))


def _proposal(problem: Problem, memory: Memory, t: Tensor) -> Tensor:
    """A step of random direction on the sphere around the picture, then one towards it."""
    size, away = NORMS["l2"].size, memory.best - problem.x
    distance = size(away).clamp_min(TINY)
    inward = -away / spread(distance, away)
    drawn = problem.draws.at(problem.restart, t, 1).normal(away.shape[1:]).to(away)
    drawn = drawn - inward * spread((drawn * inward).flatten(1).sum(1), away)
    aside = drawn * spread(memory.turn * distance / size(drawn).clamp_min(TINY), away)
    turned = reach(problem, (away + aside) / spread((1 + memory.turn.square()).sqrt(), away))
    back, left = problem.x - turned, size(problem.x - turned)
    length = (memory.pull * distance + left - distance).clamp_min(0) / left.clamp_min(TINY)
    pulled = reach(problem, -back * spread(1 - length, away))
    return torch.where(spread(t % PERIOD == 0, away), turned, pulled)
