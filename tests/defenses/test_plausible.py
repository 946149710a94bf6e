"""A detector that would be the best classifier of the world is pointed at, and no other."""

from types import SimpleNamespace

import pytest
import torch

from robustkit.audit.plausible import BEST, best_known, implausible
from robustkit.audit.standing import Clean, Standing
from robustkit.records import RejectionRecord, ThreatRecord
from robustkit.report.defense_words import defense_words
from robustkit.threat import ThreatModel

COUNT = 500


def found(
    robust: float, *, data: str = "torchvision:CIFAR10", threat: str = "linf:16/255",
    abstain: int | None = 10, count: int = COUNT,
) -> list[str]:  # fmt: skip
    """The findings after an audit in which that share of all samples stood."""
    standing = Standing(threat, count)
    standing.reached = count
    standing.fooled[int(robust * count) :] = True
    right = torch.zeros(count, dtype=torch.int64)
    clean = Clean(right, torch.ones(count), torch.ones(count, dtype=torch.bool), 10)
    ring = SimpleNamespace(
        model=SimpleNamespace(abstain=abstain, bounds=(0.0, 1.0)),
        samples=SimpleNamespace(name=data, y=right),
    )
    return [one.id for one in implausible(ring, standing, clean)]  # type: ignore[arg-type]


def test_what_would_be_a_record_at_half_the_budget_is_pointed_at() -> None:
    assert found(0.9) == ["RK-IMPLAUSIBLE"]
    assert found(0.9, data="cifar10-test.npz", threat="l2:1") == ["RK-IMPLAUSIBLE"]


@pytest.mark.parametrize(
    "other",
    [
        {"robust": 0.7},
        {"robust": 0.9, "count": 10},
        {"robust": 0.9, "threat": "linf:8/255"},
        {"robust": 0.9, "threat": "l1:12"},
        {"robust": 0.9, "data": "my-pictures"},
        {"robust": 0.9, "data": "cifar100"},
        {"robust": 0.9, "abstain": None},
    ],
    ids=["worse", "too few", "too near", "no such board", "unknown", "classes", "must answer"],
)
def test_nobody_else_is_accused(other: dict[str, float]) -> None:
    """Half of 8/255 is less than any leaderboard has: nothing is known there."""
    assert not found(**other)  # type: ignore[arg-type]


def test_the_nearest_board_below_half_the_budget_counts() -> None:
    for one in BEST:
        same = best_known(one.data, one.classes, ThreatModel(one.norm, 2 * one.eps))
        assert same == one
        assert best_known(one.data, one.classes, ThreatModel(one.norm, 1.9 * one.eps)) is None
        assert best_known(one.data, one.classes, ThreatModel(one.norm, 9 * one.eps)) == one


@pytest.mark.parametrize(("threat", "balls"), [("linf:0.1", True), ("flow:0.5", False)])
def test_the_implication_is_told_where_it_holds(threat: str, balls: bool) -> None:
    rejection = RejectionRecord(
        clean_accuracy_without=0.9, clean_accuracy_with=0.85, false_alarms=0.05,
        robust_accuracy=0.8, no_credit=0.1, stratified=((0.0, 0.8), (0.5, 0.0), (1.0, 0.1)),
    )  # fmt: skip
    record = ThreatRecord(
        threat=threat, clean_accuracy=0.85, robust_accuracy=0.8, interval=(0.7, 0.9), samples=90,
        rejection=rejection,
    )  # fmt: skip
    words = " ".join(defense_words(record))
    assert ("within half the budget" in words) == balls
    assert ("itself keeps 0 %" in words) == balls
