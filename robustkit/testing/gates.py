"""Tests that nobody wrote: one for every --robust-at-least and --robust-baseline."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from robustkit.errors import UserError
from robustkit.testing.flags import AT_LEAST, BASELINE, dest
from robustkit.testing.session import audit_of
from robustkit.testing.settings import resolve

DEFAULT_THREAT = "linf:8/255"


class Gate(pytest.Item):
    """One gate on the configured model, without any code."""

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where pytest says that the test is."""
        return self.config.rootpath / "robustkit", None, self.name


class Threshold(Gate):
    """Robust accuracy under one threat must be `at_least`, a fraction."""

    def __init__(self, *, threat: str, at_least: float, **rest: Any) -> None:
        super().__init__(**rest)
        self.threat, self.at_least = threat, at_least

    def runtest(self) -> None:
        """Audit, or take the audit that is there, and judge it."""
        __tracebackhide__ = True
        audit_of(self, threats=(self.threat,)).assert_robust(self.at_least)


class NoRegression(Gate):
    """Robust accuracy must not have fallen since `baseline` was written."""

    def __init__(self, *, baseline: Path, **rest: Any) -> None:
        super().__init__(**rest)
        self.baseline = baseline

    def runtest(self) -> None:
        """Audit under the baseline's own threats, and compare."""
        __tracebackhide__ = True
        audit_of(self, threats=self._threats()).assert_no_regression(self.baseline)

    def _threats(self) -> tuple[str, ...]:
        """Those of the baseline; of one that is yet to be written, those of the settings."""
        from robustkit.audit.baseline import read_baseline

        try:
            return tuple(read_baseline(self.baseline).robust)
        except UserError:
            return ()


def collect(session: pytest.Session) -> Iterator[Gate]:
    """The gates that flags, ini values and hooks ask for; raises UserError for a bad one."""
    config = session.config
    for threat, at_least in _thresholds(config).items():
        name = f"robust[{threat}>={at_least:g}]"
        yield _marked(
            Threshold.from_parent(
                session, name=name, nodeid=f"robustkit::{name}", threat=threat, at_least=at_least
            )
        )
    flag, ini = config.getoption(dest(BASELINE)), config.getini(BASELINE.ini_name)
    if flag or ini:
        path = (config.invocation_params.dir if flag else config.rootpath) / (flag or ini)
        name = f"no-regression[{path.name}]"
        yield _marked(
            NoRegression.from_parent(session, name=name, nodeid=f"robustkit::{name}", baseline=path)
        )


def _marked(gate: Gate) -> Gate:
    gate.add_marker(pytest.mark.robust)
    return gate


def _thresholds(config: pytest.Config) -> dict[str, float]:
    """Threat -> fraction; a fraction alone is for every threat of the settings."""
    texts = config.getoption(dest(AT_LEAST)) or config.getini(AT_LEAST.ini_name) or []
    found: dict[str, float] = {}
    for hooked in reversed(config.hook.pytest_robustkit_thresholds(config=config)):
        found |= {threat: _fraction(str(value)) for threat, value in hooked.items()}
    for text in texts:
        threat, _, value = text.rpartition("=")
        named = (threat,) if threat else resolve(config).threat or (DEFAULT_THREAT,)
        found |= dict.fromkeys(named, _fraction(value))
    return found


def _fraction(text: str) -> float:
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UserError(
            "a fraction in [0, 1]", repr(text), "write --robust-at-least linf:8/255=0.45"
        )
    return value
