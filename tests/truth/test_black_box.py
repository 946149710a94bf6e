"""Black-box attacks succeed where the closed form says one can, and keep to their queries."""

import pytest
import torch

from robustkit.attacks import build
from robustkit.audit.engine import Engine, Outcome, Task
from robustkit.errors import UserError
from robustkit.goal import Goal
from robustkit.threat import ThreatModel
from tests.truth.closed_form import SHAPE, Known, linear

# An attack, its norm, and how much more than the least budget it is given.
SCORES = [
    ("nes:queries=1300", "linf", 1.15),
    ("nes:queries=1300", "l2", 1.15),
    ("spsa:queries=2400,samples=32", "linf", 1.15),
    ("spsa:queries=2400,samples=32", "l2", 1.15),
]


# Attacks that see decisions only, on two classes: with more, they may walk to the wrong one.
DECISIONS = [
    ("hop-skip-jump:queries=1000,samples=40", "l2"),
    pytest.param("hop-skip-jump:queries=2500", "linf", marks=pytest.mark.slow),
    pytest.param("boundary:queries=2000", "l2", marks=pytest.mark.slow),
]


def budget_of(attack: str) -> int:
    queries = build(attack).settings["queries"]
    assert isinstance(queries, int)
    return queries


def attacked(attack: str, it: Known, norm: str, eps: float | torch.Tensor) -> Outcome:
    task = Task(it.model, it.x, Goal(it.y), ThreatModel(norm, eps), torch.arange(len(it.x)))
    with it.model.frozen():
        outcome = Engine().run(build(attack), task)
    assert outcome.queries.max() <= budget_of(attack)
    assert outcome.backwards == 0
    return outcome


@pytest.mark.parametrize(("attack", "norm", "factor"), SCORES)
def test_scores_find_what_is_there_and_nothing_else(attack: str, norm: str, factor: float) -> None:
    """Half of the samples get a little more than the least budget, half a little less."""
    it = linear(2)
    enough = torch.arange(len(it.x)) % 2 == 0
    eps = it.errors.distance(norm).float() * torch.where(enough, factor, 0.97)
    outcome = attacked(attack, it, norm, eps)
    assert torch.equal(outcome.fooled, enough)
    assert ThreatModel(norm, eps).violation(outcome.x_adv, it.x).max() == 0
    with torch.no_grad():
        assert torch.equal(it.model(outcome.x_adv).argmax(1) != it.y, enough)


@pytest.mark.parametrize("attack", ["nes:queries=51", "spsa:queries=1000,samples=7"])
def test_a_budget_without_room_for_one_estimate_is_refused(attack: str) -> None:
    with pytest.raises(UserError, match="samples"):
        build(attack)


@pytest.mark.parametrize(("attack", "norm"), DECISIONS)
def test_decisions_lead_to_the_closest_point(attack: str, norm: str) -> None:
    it = linear(2)
    outcome = attacked(attack, it, norm, 0.01)
    with torch.no_grad():
        assert (it.model(outcome.x_adv).argmax(1) != it.y).all()
    assert torch.equal(ThreatModel(norm, 0.0).size(outcome.x_adv, it.x), outcome.size)
    ratio = outcome.size / it.errors.distance(norm)
    assert ratio.median() <= 1.05
    assert ratio.min() >= 1 - 1e-4


def one_pixel_is_enough(it: Known) -> torch.Tensor:
    """Whether all channels of one place can be changed so that the label is lost, `[N]`."""
    errors = it.errors
    gain = torch.maximum(errors.normal * errors.low, errors.normal * errors.high)
    places = gain.unflatten(2, SHAPE).sum(2).flatten(2)
    return (places.amax(2) >= errors.gap).any(1)


def test_one_pixel_finds_the_pixel() -> None:
    it = linear(3)
    possible = one_pixel_is_enough(it)
    outcome = attacked("one-pixel:queries=1000,population=30", it, "l0", float(SHAPE[0]))
    assert 3 <= possible.sum() <= len(it.x) - 3
    assert torch.equal(outcome.fooled, possible)
    changed = (outcome.x_adv != it.x).any(1).flatten(1).sum(1)
    assert changed.max() <= 1
