"""Traces: what an attack does to a few samples, step by step, so that anyone can see why."""

import torch

from robustkit.attacks import build
from robustkit.attacks.attack import pose
from robustkit.goal import Goal
from robustkit.loading.samples import Samples
from robustkit.losses import margin
from robustkit.model import Classifier
from robustkit.records import TraceRecord
from robustkit.threat import ThreatModel

TRACED = 6


def trace(
    model: Classifier, attack: str, threat: str, *, samples: Samples, rows: list[int], seed: int
) -> list[TraceRecord]:
    """Margin and size of the point that each step looks at, for the samples `rows`.

    The margin is positive where the sample is fooled. The model must be frozen. One forward a step
    more than the attack itself needs: nobody pays for it who did not ask.
    """
    chosen = build(attack)
    kept = torch.tensor(rows[:TRACED], dtype=torch.int64)
    x, y = samples.pixels(kept).to(model.device), samples.y[kept].to(model.device)
    parsed = ThreatModel.parse(threat, model.bounds)
    losses, sizes = [], []
    with torch.no_grad():
        index = kept.to(model.device)
        problem = pose(model, x, Goal(y), parsed, index=index, seed=seed)
        state = chosen.init(problem)
        for _ in range(chosen.steps):
            losses.append(margin(model(state.x), problem.goal).cpu())
            sizes.append(parsed.size(state.x, x).cpu())
            state = chosen.step(problem, state)
        losses.append(margin(model(state.x), problem.goal).cpu())
        sizes.append(parsed.size(state.x, x).cpu())
    loss, size = torch.stack(losses, 1), torch.stack(sizes, 1)
    return [
        TraceRecord(
            threat=threat,
            attack=attack,
            id=samples.ids[row],
            fooled=bool((loss[place] > 0).any()),
            loss=tuple(loss[place].tolist()),
            size=tuple(size[place].tolist()),
        )
        for place, row in enumerate(kept.tolist())
    ]
