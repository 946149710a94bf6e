"""Gates: the level at the threshold, the three verdicts, and numbers that are not trusted."""

import numpy as np
import pytest

from robustkit.audit.gates import judge
from robustkit.audit.statistics import clopper_pearson
from robustkit.records import ThreatRecord


def record(robust: int, n: int, **changes) -> ThreatRecord:
    fields = {
        "threat": "linf:0.1",
        "clean_accuracy": 1.0,
        "robust_accuracy": robust / max(n, 1),
        "interval": clopper_pearson(robust, n),
        "samples": n,
    }
    return ThreatRecord(**{**fields, **changes})


def rate(mode: str, verdict: str, truth: float, threshold: float = 0.5, n: int = 1000) -> float:
    """How often, over samples drawn at `truth`, the gate says `verdict`."""
    draws = np.random.default_rng(7).binomial(n, truth, 4000)
    kinds, counts = np.unique(draws, return_counts=True)
    said = [judge(record(int(k), n), threshold, mode).verdict == verdict for k in kinds]
    return float(np.average(said, weights=counts))


@pytest.mark.parametrize("mode", ["no-breach", "proven"])
@pytest.mark.parametrize(("threshold", "n"), [(0.5, 1000), (0.5, 100), (0.05, 200), (0.95, 500)])
def test_false_alarms_at_the_threshold_stay_below_5_percent(mode, threshold, n):
    # 4000 draws: two standard errors of 5 % are 0.7 points.
    assert rate(mode, "FAIL", threshold, threshold, n) <= 0.057


def test_a_false_proof_at_the_threshold_is_rare():
    assert rate("proven", "PASS", 0.5) <= 0.057


@pytest.mark.parametrize(
    ("truth", "expected"), [(0.46, 0.80), (0.48, 0.34), (0.50, 0.047), (0.52, 0.002), (0.54, 0.0)]
)
def test_no_breach_fails_as_often_as_the_table_says(truth, expected):
    assert rate("no-breach", "FAIL", truth) == pytest.approx(expected, abs=0.025)


@pytest.mark.parametrize(
    ("truth", "expected"), [(0.46, 1.0), (0.48, 0.998), (0.50, 0.95), (0.52, 0.66), (0.54, 0.20)]
)
def test_proven_withholds_a_pass_as_often_as_the_table_says(truth, expected):
    assert 1 - rate("proven", "PASS", truth) == pytest.approx(expected, abs=0.025)


def test_the_bare_number_is_a_coin_toss_at_the_threshold():
    assert rate("point", "FAIL", 0.5) == pytest.approx(0.49, abs=0.025)


def test_what_it_takes_to_prove_one_half():
    for n, needed in ((200, 0.565), (500, 0.538), (1000, 0.527), (5000, 0.512)):
        count = next(
            k for k in range(n // 2, n) if judge(record(k, n), 0.5, "proven").verdict == "PASS"
        )
        assert count / n == pytest.approx(needed, abs=0.0011)


def test_no_breach_is_undecided_between_the_number_and_the_bound():
    assert judge(record(450, 1000), 0.45).verdict == "PASS"
    assert judge(record(449, 1000), 0.45).verdict == "UNDECIDED"
    assert judge(record(423, 1000), 0.45).verdict == "FAIL"


def test_a_gate_says_what_it_saw():
    gate = judge(record(472, 1000), 0.55)
    assert (
        gate.reason == "measured 47.2 % on 1000 samples, so at most 49.9 % (95 %); 55.0 % was asked"
    )
    assert gate.interval[0] < 0.472 < gate.interval[1] < 0.55
    assert (gate.samples, gate.at_least, gate.robust_accuracy) == (1000, 0.55, 0.472)


@pytest.mark.parametrize("mode", ["no-breach", "proven", "point"])
def test_an_untrusted_number_can_fail_a_gate_but_not_pass_it(mode):
    assert judge(record(900, 1000, trusted=False), 0.5, mode).verdict == "UNDECIDED"
    assert judge(record(100, 1000, trusted=False), 0.5, mode).verdict == "FAIL"


@pytest.mark.parametrize("mode", ["no-breach", "proven", "point"])
def test_no_samples_decide_nothing(mode):
    assert judge(record(0, 0), 0.5, mode).verdict == "UNDECIDED"
