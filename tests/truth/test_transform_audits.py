"""Audits under threats that are no balls: whole, reported, without findings that mean nothing."""

from pathlib import Path

import pytest

import robustkit as rk
from robustkit.attacks.cascades import suite
from robustkit.report.threats import words

THREATS = {
    "spatial:20,2": "rotate a picture by up to 20 degrees either way and shift it by up to 2",
    "flow:0.3": "every pixel may come from up to 0.3 pixels away",
    "corruption:2": "at severity 2 of 5",
}
# What speaks of budgets and gradients in a ball.
MEANINGLESS = {"RK-UNBOUNDED", "RK-EPS", "RK-STEPS", "RK-MOVED", "RK-TRANSFER", "RK-LOST-CLAIMS"}


@pytest.mark.parametrize("threat", THREATS)
def test_an_audit_goes_from_the_threat_to_the_report(threat: str, tmp_path: Path) -> None:
    log = rk.audit(
        "zoo:digits-adversarial", "zoo:digits", threat, suite="standard", samples=24,
        surrogate="zoo:digits-standard", out=str(tmp_path),
    )  # fmt: skip
    (record,) = log.threats
    assert record.threat == threat
    assert record.samples == 24
    assert 0 <= record.robust_accuracy < record.clean_accuracy
    assert [one.name for one in record.attacks] == list(
        suite("standard", threat.partition(":")[0]).attacks
    )
    assert not {one.id for one in log.findings} & MEANINGLESS
    assert log.trusted
    assert all(one.lost_claims == 0 for one in record.attacks)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert threat.replace(":", " ") in page
    assert THREATS[threat] in words(threat)
    sizes = [one.size for one in log.samples if one.outcome == "fooled"]
    most = {"spatial": 1.0, "flow": 0.3, "corruption": 2.0}[threat.partition(":")[0]]
    assert 0 < max(sizes) <= most * 1.00002


def test_of_corruptions_every_kind_is_measured_alone_and_the_worst_counts() -> None:
    log = rk.audit("zoo:digits-adversarial", "zoo:digits", "corruption:3", samples=40)
    (record,) = log.threats
    alone = [one.robust_accuracy_alone for one in record.attacks]
    assert len(alone) == 15
    assert None not in alone
    assert record.robust_accuracy <= min(alone)  # type: ignore[type-var]
    assert len(set(alone)) > 3


def test_a_move_within_no_limits_is_none() -> None:
    log = rk.audit("zoo:digits-adversarial", "zoo:digits", "spatial:0,0", samples=16)
    assert log.robust_accuracy == log.clean_accuracy
