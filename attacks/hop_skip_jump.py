"""HopSkipJump: the smallest l2 or linf perturbation by decisions alone.

Chen et al. 2020, arXiv 1904.02144, algorithms 1 and 2: step to the boundary by bisection, estimate
its normal there from decisions, jump along it, come back. Every query is one step here, and a
sample is in one of five phases. Deviations: starts are tried until one succeeds, every other one
of coarse noise; from its boundary a fiftieth of the queries goes to noise in other directions, a
little nearer each, of which every success is the new start, since the descent ends at the class it
began with; there are as many rounds as the queries allow, not 64.
"""

from collections.abc import Callable
from functools import partial
from math import ceil, log2
from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Problem, State, begin, choose_rows, observe_nearest
from robustkit.attacks.parts.noise import noise
from robustkit.attacks.parts.reach import reach
from robustkit.norms import NORMS, TINY, spread

START, BISECT, PROBE, JUMP, SCOUT = range(5)
NEARER, SCOUTING = 0.95, 50
"""How much nearer a scout looks than the best start, and what share of the queries scouts get."""
FIRST_RADIUS = 0.1
LAST_HALVING = 22
SCOUTS_FROM = 1000
"""The number of the first scout's noise; starts have those below."""


class Memory(NamedTuple):
    """`far` is a success; everything but pictures is `[B]`.

    `low` and `high` bracket the boundary between the picture (0) and `far` (1). `total` and
    `agreeing` sum up the probes' directions, all and those that succeeded, `hits` and `asked`
    them; `normal` is their verdict. `length` is the jump; `phase` and `rounds` say where we are.
    """

    phase: Tensor
    rounds: Tensor
    asked: Tensor
    hits: Tensor
    far: Tensor
    low: Tensor
    high: Tensor
    total: Tensor
    agreeing: Tensor
    normal: Tensor
    length: Tensor


Learn = Callable[[Problem, Memory, Tensor, Tensor], Memory]
"""`learn(problem, memory, x, reached)`: what a phase makes of the answer to its query at `x`."""


def hop_skip_jump(*, queries: int = 10000, samples: int = 100) -> Attack:
    """HopSkipJump in l2 and linf; round k estimates with `samples * sqrt(k)` queries.

    `queries` is a hard budget a sample: every step is one query.

    >>> hop_skip_jump(queries=500).steps
    500
    """

    def init(problem: Problem) -> State:
        """Where a sample begins."""
        zero, empty = torch.zeros_like(problem.eps), torch.zeros_like(problem.x)
        count = zero.long()
        memory = Memory(
            count, count - 1, count, zero, problem.x, zero, zero + 1, empty, empty, empty, zero
        )
        return begin(problem, noise(problem, count), memory)

    def step(problem: Problem, state: State) -> State:
        """One step of every sample."""
        logits = problem.model(state.x)
        reached = problem.goal.reached(logits)
        state = observe_nearest(problem, state, logits, reached.to(state.loss))
        memory = Memory(*state.memory)
        after = memory
        for phase, learn in enumerate(learnt):
            here = memory.phase == phase
            after = choose_rows(here, learn(problem, memory, state.x, reached), after)
        t = state.t + 1
        return state._replace(x=_next(problem, after, t), t=t, memory=after)

    probed, scouted = partial(_probed, samples), partial(_scouted, queries // SCOUTING)
    learnt: tuple[Learn, ...] = (_begun, _bisected, probed, _jumped, scouted)
    settings = {"queries": queries, "samples": samples}
    return Attack(
        "hop-skip-jump", init, step, queries, minimum_norm=True, gradient=False, settings=settings
    )


def _distance(problem: Problem, x: Tensor) -> Tensor:
    return problem.threat.size(x, problem.x)


def _between(problem: Problem, far: Tensor, share: Tensor) -> Tensor:
    """The point at `share` `[B]` of the way to `far`; in linf `far` within that share's cube."""
    delta = far - problem.x
    if problem.threat.norm_name == "linf":
        most = spread(share * _distance(problem, far), delta)
        return reach(problem, delta.clamp(-most, most))
    return reach(problem, delta * spread(share, delta))


def _halvings(problem: Problem) -> int:
    """How often to halve for the published tolerance, d^-3/2 in l2 and d^-2 in linf."""
    power = 2.0 if problem.threat.norm_name == "linf" else 1.5
    return min(ceil(power * log2(problem.x[0].numel())), LAST_HALVING)


def _radius(problem: Problem, memory: Memory) -> Tensor:
    """How far probes are from the boundary: sqrt(d) times, in linf d times, the tolerance."""
    low, high = problem.threat.bounds
    usual = _distance(problem, memory.far) / problem.x[0].numel()
    return torch.where(memory.rounds == 1, FIRST_RADIUS * (high - low), usual)


# What each phase makes of the answer to its query at `x`: the memory after it.


def _begun(problem: Problem, memory: Memory, x: Tensor, reached: Tensor) -> Memory:
    """Try starts until one succeeds."""
    found = torch.where(spread(reached, x), x, memory.far)
    return memory._replace(
        far=found,
        asked=torch.where(reached, 0, memory.asked + 1),
        phase=torch.where(reached, BISECT, START),
    )


def _scouted(scouts: int, problem: Problem, memory: Memory, x: Tensor, reached: Tensor) -> Memory:
    """Take what succeeds nearer to the picture; then the descent begins."""
    over = memory.asked + 1 >= scouts
    return memory._replace(
        phase=torch.where(over, BISECT, SCOUT),
        asked=torch.where(over, 0, memory.asked + 1),
        far=torch.where(spread(reached, x), x, memory.far),
    )


def _bisected(problem: Problem, memory: Memory, x: Tensor, reached: Tensor) -> Memory:
    """Halve the bracket; then `far` comes to its end, and a round begins."""
    middle = (memory.low + memory.high) / 2
    high, low = torch.where(reached, middle, memory.high), torch.where(reached, memory.low, middle)
    over = memory.asked + 1 >= _halvings(problem)
    wide, zero = spread(over, x), torch.zeros_like(x)
    return memory._replace(
        phase=torch.where(over, torch.where(memory.rounds < 0, SCOUT, PROBE), BISECT),
        rounds=memory.rounds + over,
        asked=torch.where(over, 0, memory.asked + 1),
        hits=torch.zeros_like(memory.hits),
        far=torch.where(wide, _between(problem, memory.far, high), memory.far),
        low=torch.where(over, 0, low),
        high=torch.where(over, 1, high),
        total=zero,
        agreeing=zero,
    )


def _probed(samples: int, problem: Problem, memory: Memory, x: Tensor, reached: Tensor) -> Memory:
    """Sum up the directions that succeed; then take their lead over the average one."""
    way = (x - memory.far) / spread(_radius(problem, memory).clamp_min(TINY), x)
    total, agreeing = memory.total + way, memory.agreeing + way * spread(reached, x)
    count, hits = memory.asked + 1, memory.hits + reached
    share = hits / count
    split = agreeing - spread(share, x) * total
    normal = torch.where(spread(share == 1, x), total, split)
    normal = torch.where(spread(share == 0, x), -total, normal)
    over = count >= samples * memory.rounds.sqrt()
    return memory._replace(
        phase=torch.where(over, JUMP, PROBE),
        asked=torch.where(over, 0, count),
        hits=hits,
        total=total,
        agreeing=agreeing,
        normal=problem.threat.norm.steepest(normal, torch.ones_like(hits), None),
        length=_distance(problem, memory.far) / memory.rounds.clamp_min(1).sqrt(),
    )


def _jumped(problem: Problem, memory: Memory, x: Tensor, reached: Tensor) -> Memory:
    """Halve the jump until it lands in success, or stay where rounding leaves nothing to halve."""
    over = reached | (memory.asked + 1 >= LAST_HALVING)
    return memory._replace(
        phase=torch.where(over, BISECT, JUMP),
        asked=torch.where(over, 0, memory.asked + 1),
        far=torch.where(spread(reached, x), x, memory.far),
        length=memory.length / 2,
    )


def _next(problem: Problem, memory: Memory, t: Tensor) -> Tensor:
    """The next query of every sample, by its phase."""
    delta = memory.far - problem.x
    draws = problem.draws.at(problem.restart, t, 1)
    if problem.threat.norm_name == "linf":
        drawn = 2 * draws.uniform(problem.x.shape[1:]).to(delta) - 1
    else:
        drawn = draws.normal(problem.x.shape[1:]).to(delta)
    probe = drawn * spread(_radius(problem, memory) / NORMS["l2"].size(drawn), drawn)
    x = noise(problem, memory.asked)
    elsewhere = noise(problem, memory.asked + SCOUTS_FROM)
    share = NEARER * _distance(problem, memory.far) / _distance(problem, elsewhere).clamp_min(TINY)
    for phase, query in (
        (SCOUT, _between(problem, elsewhere, share.clamp_max(1.0))),
        (BISECT, _between(problem, memory.far, (memory.low + memory.high) / 2)),
        (PROBE, reach(problem, delta + probe)),
        (JUMP, reach(problem, delta + memory.normal * spread(memory.length, delta))),
    ):
        x = torch.where(spread(memory.phase == phase, x), query, x)
    return x
