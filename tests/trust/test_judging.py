"""Gates, claims and baselines inside an audit, early stopping included."""

from pathlib import Path

import robustkit as rk
from robustkit.audit.baseline import write_baseline

MODEL, DATA, THREAT = "zoo:digits-standard", "zoo:digits", "linf:0.1"


def audited(**settings: object) -> rk.AuditLog:
    return rk.audit(MODEL, DATA, THREAT, attacks=["pgd:steps=10"], **settings)


def test_a_budget_ends_as_soon_as_the_gate_is_decided() -> None:
    log = audited(budget="1h", at_least=["0.9"])
    assert log.status == "complete"
    assert log.threats[0].samples == 64, "one block is enough at such a distance"
    gate = log.gates[0]
    assert gate.verdict == "FAIL"
    assert gate.interval[0] < log.robust_accuracy < gate.interval[1] < 0.9


def test_without_a_budget_everybody_is_asked() -> None:
    log = audited(samples=100, at_least=["0.9"])
    assert log.threats[0].samples == 100
    assert log.gates[0].verdict == "FAIL"


def test_an_undecided_gate_asks_everybody() -> None:
    log = audited(budget="1h", samples=200, at_least=[f"{THREAT}=0.2"], gate="point")
    assert log.threats[0].samples == 200


def test_a_published_number_is_contradicted() -> None:
    assert audited(samples=100, claimed=0.9).claims[0].verdict == "CONTRADICTED"
    assert audited(samples=100, claimed=0.15).claims[0].verdict in ("CONSISTENT", "EXCEEDED")


def test_a_baseline_is_compared_sample_by_sample(tmp_path: Path) -> None:
    path = tmp_path / "base.json"
    write_baseline(audited(samples=80), path)
    same = audited(samples=80, baseline=str(path)).comparisons[0]
    assert (same.lost, same.gained) == (0, 0)
