"""Traces: what an attack does to a few samples, step by step, so that anyone can see why."""

import torch
from torch import Tensor

from robustkit.attacks import build
from robustkit.attacks.attack import Attack, Problem, pose
from robustkit.audit.bout import Ring
from robustkit.audit.device import halving
from robustkit.audit.plan import Plan
from robustkit.audit.standing import Clean, Standing
from robustkit.goal import Goal
from robustkit.loading.samples import Samples
from robustkit.losses import margin
from robustkit.model import Classifier
from robustkit.records import TraceRecord
from robustkit.threat import ThreatModel

TRACED = 6


def traces(
    plan: Plan, ring: Ring, standings: dict[str, Standing], clean: Clean
) -> list[TraceRecord]:
    """Traces of every attack on a few samples, those that it had to fight with first."""
    right = clean.right(ring.samples.y)
    records = []
    for bout in plan.bouts:
        standing = standings[bout.threat]
        robust = standing.robust(right)[standing.counted()].nonzero().squeeze(1).tolist()
        fooled = standing.fooled[standing.counted()].nonzero().squeeze(1).tolist()
        rows = [*robust[: TRACED // 2], *fooled][:TRACED]
        for attack in bout.attacks if rows else ():
            records += trace(
                ring.model, attack, bout.threat, samples=ring.samples, rows=rows, seed=plan.seed
            )
    return records


def trace(
    model: Classifier, attack: str, threat: str, *, samples: Samples, rows: list[int], seed: int
) -> list[TraceRecord]:
    """Margin and size of the point that each step looks at, for the samples `rows`.

    The margin is positive where the sample is fooled. The model must be frozen. One forward a step
    more than the attack itself needs: nobody pays for it who did not ask.
    """
    kept = torch.tensor(rows[:TRACED], dtype=torch.int64)
    x, y = samples.pixels(kept).to(model.device), samples.y[kept].to(model.device)
    index, parsed = kept.to(model.device), ThreatModel.parse(threat, model.bounds)

    def goals(n: int) -> Goal:
        """The goal of the first `n` samples."""
        return Goal(y[:n], abstain=model.abstain)

    # Where memory runs out fewer samples are traced.
    (loss, size), used = halving(
        lambda n: _followed(
            build(attack),
            pose(model, x[:n], goals(n), parsed, index=index[:n], seed=seed),
        ),
        len(kept),
    )
    return [
        TraceRecord(
            threat=threat,
            attack=attack,
            id=samples.ids[row],
            fooled=bool((loss[place] > 0).any()),
            loss=tuple(loss[place].tolist()),
            size=tuple(size[place].tolist()),
        )
        for place, row in enumerate(kept[:used].tolist())
    ]


def _followed(attack: Attack, problem: Problem) -> tuple[Tensor, Tensor]:
    """Margin and size before each step and after the last, `[B, steps + 1]` each."""
    losses, sizes = [], []
    with torch.no_grad():
        state = attack.init(problem)
        for _ in range(attack.steps):
            losses.append(margin(problem.model(state.x), problem.goal).cpu())
            sizes.append(problem.threat.size(state.x, problem.x).cpu())
            state = attack.step(problem, state)
        losses.append(margin(problem.model(state.x), problem.goal).cpu())
        sizes.append(problem.threat.size(state.x, problem.x).cpu())
    return torch.stack(losses, 1), torch.stack(sizes, 1)
