"""What a test says of an audit: `robust_audit.assert_robust(at_least=0.45)`."""

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, NamedTuple, ParamSpec

import pytest

from robustkit.audit.baseline import compare_baseline, read_baseline, write_baseline
from robustkit.audit.gates import judge
from robustkit.errors import RobustkitError, UserError
from robustkit.records import AuditLog, GateMode, ThreatRecord
from robustkit.report.numbers import percent
from robustkit.testing.judging import Judgement, judge_classes, judge_drop, judge_trust
from robustkit.testing.messages import breach

P = ParamSpec("P")
MODES: tuple[GateMode, ...] = ("no-breach", "proven", "point")


class UndecidedWarning(UserWarning):
    """A gate that the samples can neither pass nor fail."""


class Policy(NamedTuple):
    """How verdicts are treated.

    `home` is the folder that relative paths of baselines start from; `update` writes baselines,
    and `accept` lets a test pass that changed one.
    """

    gate: str = "no-breach"
    undecided: str = "warn"
    fail_untrusted: bool = False
    update: bool = False
    accept: bool = False
    home: Path = Path()


def _in_words(
    assertion: Callable[Concatenate["RobustAudit", P], None],
) -> Callable[Concatenate["RobustAudit", P], None]:
    """Let an assertion fail in words where it cannot be made at all."""

    @functools.wraps(assertion)
    def spoken(self: "RobustAudit", *args: P.args, **rest: P.kwargs) -> None:
        """The assertion, what refuses it told as a failure."""
        __tracebackhide__ = True
        try:
            assertion(self, *args, **rest)
            return
        except RobustkitError as error:
            said = str(error)
        # Out here, pytest shows nothing but the words.
        name = assertion.__name__.removeprefix("assert_").replace("_", "-")
        threats = ", ".join(one.threat for one in self.log.threats)
        self.note(Judgement(name, threats, "", "FAIL", said))
        pytest.fail(f"{name}: {said}", pytrace=False)

    return spoken  # type: ignore[return-value]  # wraps gives `self` a name, Callable does not


class RobustAudit:
    """An audit to make assertions about; a breach fails the test with one readable message.

    `log` is the whole record, `folder` the run directory with `report.html`.
    """

    def __init__(
        self,
        log: AuditLog,
        folder: Path,
        *,
        policy: Policy = Policy(),  # noqa: B008 - frozen
        note: Callable[[Judgement], None] = lambda judgement: None,
    ) -> None:
        """Wrap a log; `note` is told every judgement."""
        self.log, self.folder = log, folder
        self.note = note
        self._policy = policy

    @property
    def robust_accuracy(self) -> float:
        """The lowest robust accuracy over the audited threats, a fraction."""
        return self.log.robust_accuracy

    @_in_words
    def assert_robust(
        self, at_least: float, *, gate: GateMode | None = None, threat: str | None = None
    ) -> None:
        """Fail if robust accuracy is below `at_least`, a fraction, under any threat or `threat`.

        `gate` says how sure: `no-breach` fails where the samples show a breach (5 % error),
        `proven` passes where they show that there is none, `point` looks at the number alone.
        """
        __tracebackhide__ = True
        _check_fraction("at_least", at_least)
        mode = self._mode(gate)
        found = []
        for record in self._threats(threat):
            ruled = judge(record, at_least, mode)
            asked = f">= {percent(at_least)}"
            found.append(Judgement("robust", record.threat, asked, ruled.verdict, ruled.reason))
        self._conclude(found)

    @_in_words
    def assert_per_class(
        self, at_least: float, *, gate: GateMode | None = None, threat: str | None = None
    ) -> None:
        """Fail if the robust accuracy of any class is below `at_least`, a fraction.

        The more classes, the surer each has to be: all together fail at most 5 % by bad luck.
        """
        __tracebackhide__ = True
        _check_fraction("at_least", at_least)
        mode = self._mode(gate)
        self._conclude([judge_classes(one, at_least, mode) for one in self._threats(threat)])

    @_in_words
    def assert_no_regression(self, baseline: str | Path, *, max_drop: float = 0.0) -> None:
        """Fail if robust accuracy fell by more than `max_drop` since `baseline` was written.

        The path starts at the test's folder. Both audits are compared sample by sample, so data,
        threats, attacks and their versions must be the same; otherwise the test fails and says so.
        With --robust-update-baselines the file is written, and the test fails if that changed it,
        unless --robust-accept was given.
        """
        __tracebackhide__ = True
        _check_fraction("max_drop", max_drop)
        path = self._policy.home / baseline
        if self._policy.update:
            self._update(path)
            return
        if not path.is_file():
            raise UserError(
                f"a baseline {path}", "no such file",
                "write it with pytest --robust-update-baselines --robust-accept, and commit it",
            )  # fmt: skip
        compared = compare_baseline(read_baseline(path), self.log)
        self._conclude([judge_drop(one, max_drop) for one in compared])

    @_in_words
    def assert_trusted(self) -> None:
        """Fail if a finding voids the number; what is provisional is undecided."""
        __tracebackhide__ = True
        self._conclude([judge_trust(self.log)])

    def _mode(self, gate: GateMode | None) -> GateMode:
        mode = gate or self._policy.gate
        if mode not in MODES:
            raise UserError(f"a gate: {', '.join(MODES)}", repr(mode), 'write gate="no-breach"')
        return mode

    def _threats(self, threat: str | None) -> list[ThreatRecord]:
        found = [one for one in self.log.threats if threat in (None, one.threat)]
        if not found:
            known = ", ".join(one.threat for one in self.log.threats)
            raise UserError(f"an audited threat: {known}", repr(threat), "choose one of these")
        return found

    def _update(self, path: Path) -> None:
        """Write the baseline; fail if there was another one, or none, and nobody accepts it."""
        __tracebackhide__ = True
        old, bits = path.read_bytes() if path.is_file() else b"", _bits(path)
        write_baseline(self.log, path)
        changed = path.read_bytes() != old
        reason = f"baseline {path} {'written' if changed else 'unchanged'}: {self._change(bits)}"
        ok = self._policy.accept or not changed
        threats = ", ".join(one.threat for one in self.log.threats)
        judged = Judgement("no-regression", threats, "update", "PASS" if ok else "FAIL", reason)
        self.note(judged)
        if not ok:
            pytest.fail(
                f"{reason}\n  look at the difference, commit it, or run again with --robust-accept",
                pytrace=False,
            )

    def _change(self, before: dict[str, tuple[bool, ...]]) -> str:
        """What a new baseline says that the old one did not, threat by threat."""
        then = {name: percent(sum(bits) / max(len(bits), 1)) for name, bits in before.items()}
        return ", ".join(
            f"{one.threat} {then.get(one.threat, 'none')} -> {percent(one.robust_accuracy)}"
            for one in self.log.threats
        )

    def _conclude(self, found: list[Judgement]) -> None:
        """Note every judgement; fail for breaches, and warn or fail for what is undecided."""
        __tracebackhide__ = True
        if self._policy.fail_untrusted and not self.log.trusted:
            found = [*found, judge_trust(self.log)]
        for one in found:
            self.note(one)
        failing = ["FAIL"] + ["UNDECIDED"] * (self._policy.undecided == "fail")
        failed = [one for one in found if one.verdict in failing]
        if failed:
            pytest.fail(breach(failed, self.log, self.folder), pytrace=False)
        for one in found:
            if one.verdict == "UNDECIDED":
                # The line to point at is the test's: above this, the assertion and its wrapper.
                warnings.warn(f"{one.threat}: {one.reason}", UndecidedWarning, stacklevel=4)


def _check_fraction(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UserError(f"{name} as a fraction in [0, 1]", repr(value), f"write {name}=0.45")


def _bits(path: Path) -> dict[str, tuple[bool, ...]]:
    """The bits of the baseline that is there, by threat; none where it cannot be read."""
    try:
        return read_baseline(path).robust
    except UserError:
        return {}
