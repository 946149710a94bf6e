"""Noise keeps to its budget, uses it up, and never does what the closed form rules out."""

import pytest
import torch

from robustkit.attacks import build
from robustkit.attacks.attack import Problem, pose
from robustkit.audit.engine import Engine, Outcome, Task
from robustkit.goal import Goal
from robustkit.threat import ThreatModel
from tests.truth.closed_form import Known, linear

NOISES = [
    ("uniform-noise", "linf"),
    ("uniform-noise", "l2"),
    ("uniform-noise", "l0"),
    ("gaussian-noise", "linf"),
    ("gaussian-noise", "l2"),
    ("gaussian-noise", "l1"),
    ("salt-and-pepper", "l0"),
    ("salt-and-pepper", "l1"),
]


def attacked(name: str, it: Known, threat: ThreatModel) -> Outcome:
    task = Task(it.model, it.x, Goal(it.y), threat, torch.arange(len(it.x)))
    with it.model.frozen():
        return Engine().run(build(f"{name}:queries=200"), task)


def problem(it: Known, norm: str, eps: float) -> Problem:
    threat = ThreatModel(norm, eps)
    return pose(it.model, it.x, Goal(it.y), threat, index=torch.arange(len(it.x)))


@pytest.mark.parametrize(("name", "norm"), NOISES)
def test_only_what_lies_within_reach_falls(name: str, norm: str) -> None:
    """Every other sample has a budget just too small for it, the rest more than enough."""
    it = linear(2)
    distance = it.errors.distance(norm).float()
    short = torch.arange(len(distance)) % 2 == 0
    less = distance - 1 if norm == "l0" else 0.99 * distance
    eps = torch.where(short, less, 6 * distance)
    outcome = attacked(name, it, ThreatModel(norm, eps))
    assert not outcome.fooled[short].any()
    assert outcome.fooled[~short].any()
    with torch.no_grad():
        assert (it.model(outcome.x_adv).argmax(1) != it.y)[outcome.fooled].all()


@pytest.mark.parametrize(("name", "norm"), NOISES)
def test_every_try_is_another_one_and_uses_the_budget(name: str, norm: str) -> None:
    it, eps = linear(2), {"linf": 0.1, "l2": 0.5, "l1": 2.0, "l0": 5.0}[norm]
    attack, posed = build(name), problem(linear(2), norm, eps)
    with it.model.frozen(), torch.no_grad():
        first = attack.init(posed)
        second = attack.step(posed, first)
    assert not torch.equal(first.x, second.x)
    assert not torch.equal(first.x[0] - it.x[0], first.x[1] - it.x[1])
    size = posed.threat.size(second.x, it.x)
    assert (size <= eps * (1 + 1e-5)).all()
    # Walls stop some of it; a norm of the wrong tensor would be far off.
    assert size.median() > 0.6 * eps


def test_salt_and_pepper_is_black_or_white() -> None:
    it = linear(2)
    outcome = attacked("salt-and-pepper", it, ThreatModel("l0", 6.0))
    changed = outcome.x_adv != it.x
    assert set(outcome.x_adv[changed].tolist()) == {0.0, 1.0}
