"""C&W with a confidence: the nearest picture where the margin is that large, and no nearer one."""

import pytest
import torch

from robustkit.attacks import build
from robustkit.audit.engine import Engine, Task
from robustkit.goal import Goal
from robustkit.losses import asked_more, margin
from robustkit.threat import ThreatModel
from tests.truth.closed_form import linear

KAPPA = 0.8


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_margin_that_is_asked_for_is_reached_and_not_exceeded(
    norm: str, targeted: bool
) -> None:
    it = linear(2, 12)
    goal = Goal(it.y, 1 - it.y if targeted else None)
    attack = build(f"carlini-wagner:steps=400,rounds=5,step_size=0.02,confidence={KAPPA}")
    task = Task(it.model, it.x, goal, ThreatModel(norm, 1e6), torch.arange(len(it.x)))
    with it.model.frozen(), torch.no_grad():
        outcome = Engine().run(attack, task)
        reached = margin(it.model(outcome.x_adv), goal)
    assert outcome.fooled.all()
    assert (reached > KAPPA - 1e-4).all()
    farther = it.errors._replace(gap=it.errors.gap + KAPPA).distance(norm)
    ratio = outcome.size / farther
    assert ratio.min() > 0.999
    assert ratio.median() < 1.05
    assert (farther > 1.05 * it.errors.distance(norm)).all()


@pytest.mark.parametrize("abstain", [None, 3])
@pytest.mark.parametrize("targeted", [False, True])
def test_asked_more_moves_the_margin_and_nothing_else(abstain: int | None, targeted: bool) -> None:
    logits = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    y = torch.arange(200) % 3
    goal = Goal(y, (y + 1) % 3 if targeted else None, abstain)
    torch.testing.assert_close(
        margin(asked_more(logits, goal, 0.5), goal), margin(logits, goal) - 0.5
    )
    assert torch.equal(goal.reached(asked_more(logits, goal, 0.5)), margin(logits, goal) > 0.5)
    assert asked_more(logits, goal, 0.0) is logits
