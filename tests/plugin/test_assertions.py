"""Verdicts, messages and baselines of `RobustAudit`, without a run of pytest."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from robustkit.audit.gates import judge
from robustkit.records import AuditLog, ClassRecord, Finding, ThreatRecord
from robustkit.testing import RobustAudit, UndecidedWarning
from robustkit.testing.assertions import Policy
from robustkit.testing.judging import Judgement, drop_p, judge_classes

Failed = pytest.fail.Exception
Log = Callable[..., AuditLog]


def said(assertion: Callable[[], None]) -> str:
    with pytest.raises(Failed) as caught:
        assertion()
    assert not caught.value.pytrace
    return str(caught.value.msg)


def test_pass_is_silent_and_noted(log: Log) -> None:
    notes: list[Judgement] = []
    audit = RobustAudit(log(150), Path("run"), note=notes.append)
    audit.assert_robust(at_least=0.7)
    audit.assert_per_class(at_least=0.6)
    audit.assert_trusted()
    kinds = [(one.assertion, one.verdict) for one in notes]
    assert kinds == [("robust", "PASS"), ("per-class", "PASS"), ("trusted", "PASS")]
    assert audit.robust_accuracy == 0.75


def test_breach_says_all_that_the_number_means(log: Log) -> None:
    message = said(lambda: RobustAudit(log(60), Path("run")).assert_robust(at_least=0.5))
    first, *rest = message.splitlines()
    assert first == (
        "linf:0.1: measured 30.0 % on 200 samples, so at most 35.8 % (95 %); 50.0 % was asked"
    )
    text = "\n".join(rest)
    for part in (
        "net on gate.npz", "95 % interval 23.7 to 36.9 %, n = 200", "class digit 0 30.0 %",
        "run/report.html", "run/examples/worst.png (digit 0 taken for digit 1, 80.0 % sure)",
    ):  # fmt: skip
        assert part in text


def test_undecided_warns_where_the_test_is_or_fails(log: Log) -> None:
    with pytest.warns(UndecidedWarning, match="possibly as much as") as caught:
        RobustAudit(log(98), Path()).assert_robust(at_least=0.5)
    assert caught[0].filename == __file__
    strict = RobustAudit(log(98), Path(), policy=Policy(undecided="fail"))
    assert "undecided" in said(lambda: strict.assert_robust(at_least=0.5))


@pytest.mark.parametrize(
    ("robust", "gate", "verdict"),
    [
        (100, "no-breach", "PASS"),
        (85, "no-breach", "FAIL"),
        (120, "proven", "PASS"),
        (100, "proven", "UNDECIDED"),
        (100, "point", "PASS"),
        (99, "point", "FAIL"),
    ],
)
def test_gate(log: Log, robust: int, gate: Any, verdict: str) -> None:
    notes: list[Judgement] = []
    audit = RobustAudit(log(robust), Path(), policy=Policy(gate=gate), note=notes.append)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndecidedWarning)
        if verdict == "FAIL":
            said(lambda: audit.assert_robust(at_least=0.5))
        else:
            audit.assert_robust(at_least=0.5)
    assert [one.verdict for one in notes] == [verdict]
    assert judge(audit.log.threats[0], 0.5, gate).verdict == verdict


@pytest.mark.parametrize("value", [45, -0.1, True, "0.45", float("nan")])
def test_threshold_that_is_no_fraction_is_refused_in_words(log: Log, value: Any) -> None:
    audit = RobustAudit(log(), Path())
    assert "expected at_least as a fraction" in said(lambda: audit.assert_robust(at_least=value))
    assert "expected a gate" in said(lambda: audit.assert_robust(0.1, gate="no"))  # type: ignore[arg-type]
    assert "expected an audited threat" in said(lambda: audit.assert_robust(0.1, threat="l2:1"))


def test_per_class_names_the_classes_that_fail(log: Log) -> None:
    flags = [k % 4 != 0 and k % 2 == 0 for k in range(200)]
    message = said(lambda: RobustAudit(log(flags), Path()).assert_per_class(at_least=0.4))
    assert "class digit 1 0 %" in message.splitlines()[0]
    assert "digit 0" not in message.splitlines()[0]


def test_untrusted_number_passes_nothing(log: Log) -> None:
    why = Finding(id="RK-ZERO-GRADIENT", severity="high", message="No gradient.", fix="Mend it.")
    voided = log(190, trusted=False, findings=[why])
    with pytest.warns(UndecidedWarning, match="not trusted"):
        RobustAudit(voided, Path()).assert_robust(at_least=0.5)
    message = said(RobustAudit(voided, Path()).assert_trusted)
    assert "untrusted" in message
    assert "RK-ZERO-GRADIENT: No gradient. Fix: Mend it." in message
    strict = RobustAudit(voided, Path(), policy=Policy(fail_untrusted=True))
    assert "RK-ZERO-GRADIENT" in said(lambda: strict.assert_robust(at_least=0.5))


def test_provisional_number_is_undecided(log: Log) -> None:
    why = Finding(id="RK-PARTIAL", severity="medium", message="Time is up.", fix="More of it.")
    with pytest.warns(UndecidedWarning, match="RK-PARTIAL"):
        RobustAudit(log(findings=[why]), Path()).assert_trusted()


class TestBaseline:
    def wrote(self, log: AuditLog, home: Path) -> None:
        policy = Policy(update=True, accept=True, home=home)
        RobustAudit(log, home, policy=policy).assert_no_regression("b.json")

    def against(self, log: AuditLog, home: Path, max_drop: float = 0.0) -> None:
        RobustAudit(log, home, policy=Policy(home=home)).assert_no_regression(
            "b.json", max_drop=max_drop
        )

    def test_same_again_passes(self, log: Log, tmp_path: Path) -> None:
        self.wrote(log(150), tmp_path)
        self.against(log(150), tmp_path)

    def test_drop_is_seen_by_pairs(self, log: Log, tmp_path: Path) -> None:
        # 150 against 140 of 200: intervals beside each other overlap by far.
        self.wrote(log(150), tmp_path)
        message = said(lambda: self.against(log(140), tmp_path, max_drop=0.01))
        assert "75.0 % then, 70.0 % now: 10 lost, 0 gained of 200" in message
        self.against(log(140), tmp_path, max_drop=0.06)

    def test_drop_that_could_be_chance_is_undecided(self, log: Log, tmp_path: Path) -> None:
        self.wrote(log(150), tmp_path)
        with pytest.warns(UndecidedWarning, match="3 lost, 0 gained"):
            self.against(log(147), tmp_path, max_drop=0.01)

    def test_missing_baseline_says_how_to_write_one(self, log: Log, tmp_path: Path) -> None:
        message = said(lambda: self.against(log(), tmp_path))
        assert "b.json" in message
        assert "--robust-update-baselines --robust-accept" in message

    def test_other_attack_version_is_refused(self, log: Log, tmp_path: Path) -> None:
        self.wrote(log(150, version=1), tmp_path)
        message = said(lambda: self.against(log(150, version=2), tmp_path))
        assert "pgd (version 1) before and pgd (version 2) after" in message

    def test_update_fails_until_accepted(self, log: Log, tmp_path: Path) -> None:
        update = Policy(update=True, home=tmp_path)
        self.wrote(log(150), tmp_path)
        audit = RobustAudit(log(140), tmp_path, policy=update)
        message = said(lambda: audit.assert_no_regression("b.json"))
        assert "linf:0.1 75.0 % -> 70.0 %" in message
        audit.assert_no_regression("b.json")
        self.against(log(140), tmp_path)

    def test_update_mends_a_broken_file(self, log: Log, tmp_path: Path) -> None:
        (tmp_path / "b.json").write_text("{")
        assert "expected a baseline file" in said(lambda: self.against(log(), tmp_path))
        self.wrote(log(150), tmp_path)
        self.against(log(150), tmp_path)

    def test_untrusted_audit_is_no_baseline(self, log: Log, tmp_path: Path) -> None:
        assert "untrusted" in said(lambda: self.wrote(log(trusted=False), tmp_path))
        assert not (tmp_path / "b.json").exists()

    def test_file_is_small_and_readable(self, log: Log, tmp_path: Path) -> None:
        self.wrote(log(700, 1000), tmp_path)
        assert (tmp_path / "b.json").stat().st_size < 1200
        assert json.loads((tmp_path / "b.json").read_text())["samples"] == 1000


def alarm(assertion: Callable[[], None]) -> bool:
    """Whether a test would fail; what is undecided is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndecidedWarning)
        try:
            assertion()
        except Failed:
            return True
    return False


def test_200_simulations_at_the_threshold(log: Log) -> None:
    """A model exactly as good as was asked fails at most one run in twenty."""
    draws = np.random.default_rng(1).binomial(1000, 0.45, size=200)
    failed = 0
    for count in draws.tolist():
        record = ThreatRecord(
            threat="linf:0.1", clean_accuracy=0.9, robust_accuracy=count / 1000,
            interval=(0, 1), samples=1000,
        )  # fmt: skip
        audit = RobustAudit(log(1, 2).model_copy(update={"threats": (record,)}), Path())
        failed += alarm(lambda audit=audit: audit.assert_robust(at_least=0.45))  # type: ignore[misc]
    assert 1 <= failed <= 10


@pytest.mark.parametrize("n", [30, 200, 1000])
@pytest.mark.parametrize("p", [0.05, 0.45, 0.9])
def test_chance_of_a_false_alarm_is_below_5_percent(n: int, p: float) -> None:
    total = 0.0
    for count in range(n + 1):
        weight = float(binom.pmf(count, n, p))
        if weight > 1e-9:
            record = ThreatRecord(
                threat="linf:0.1", clean_accuracy=1, robust_accuracy=count / n, interval=(0, 1),
                samples=n,
            )  # fmt: skip
            total += weight * (judge(record, p).verdict == "FAIL")
    assert total <= 0.05


def test_ten_classes_at_the_threshold_fail_no_more_often_than_one() -> None:
    draws = np.random.default_rng(2).binomial(50, 0.5, size=(400, 10))
    failed = 0
    for counts in draws.tolist():
        rows = tuple(
            ClassRecord(label=k, name=str(k), samples=50, clean=50, robust=c, interval=(0, 1))
            for k, c in enumerate(counts)
        )
        record = ThreatRecord(
            threat="linf:0.1", clean_accuracy=1, robust_accuracy=0.5, interval=(0, 1),
            samples=500, classes=rows,
        )  # fmt: skip
        failed += judge_classes(record, 0.5, "no-breach").verdict == "FAIL"
    assert failed <= 0.05 * 400


@pytest.mark.parametrize(("gains", "allowed"), [(0.0, 0.01), (0.01, 0.01), (0.02, 0.05)])
def test_drop_at_what_is_allowed_rarely_fails(gains: float, allowed: float) -> None:
    """The bare rule `drop > max_drop` would fail every second time here."""
    draws = np.random.default_rng(3).multinomial(
        1000, [gains + allowed, gains, 1 - 2 * gains - allowed], size=2000
    )
    found = [drop_p(lost, gained, 1000, allowed) < 0.05 for lost, gained, _ in draws.tolist()]
    bare = [lost - gained > 1000 * allowed for lost, gained, _ in draws.tolist()]
    assert np.mean(found) < 0.065
    assert np.mean(bare) > 0.4


def test_drop_beyond_what_is_allowed_is_found() -> None:
    draws = np.random.default_rng(4).multinomial(1000, [0.05, 0.01, 0.94], size=500)
    found = [drop_p(lost, gained, 1000, 0.01) < 0.05 for lost, gained, _ in draws.tolist()]
    assert np.mean(found) > 0.9
