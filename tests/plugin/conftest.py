"""Projects to run pytest in, whose audits lie in the cache already, so that no model is needed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from robustkit.audit.statistics import clopper_pearson
from robustkit.records import (
    AttackRecord,
    AuditLog,
    ClassRecord,
    DataRecord,
    Example,
    Finding,
    ModelRecord,
    SampleRecord,
    ThreatRecord,
)
from robustkit.report.run_directory import write_run
from robustkit.testing import keys
from robustkit.testing.audits import Audits
from robustkit.testing.settings import Settings

THREAT = "linf:0.1"
Plant = Callable[..., Path]


def build(
    robust: int | Sequence[bool] = 150,
    n: int = 200,
    *,
    classes: int = 2,
    trusted: bool = True,
    threat: str = THREAT,
    version: int = 1,
    findings: Sequence[Finding] = (),
) -> AuditLog:
    """A log of `n` samples, of which the first `robust` (or those with the flag) are robust."""
    flags = [k < robust for k in range(n)] if isinstance(robust, int) else list(robust)
    n, count = len(flags), sum(flags)
    samples = [
        SampleRecord(
            threat=threat, index=k, id=str(k), label=k % classes,
            outcome="robust" if flags[k] else "fooled", clean_prediction=k % classes,
            clean_confidence=0.9, attack="" if flags[k] else "pgd",
        )
        for k in range(n)
    ]  # fmt: skip
    rows = []
    for label in range(classes):
        mine = flags[label::classes]
        rows.append(
            ClassRecord(
                label=label, name=f"digit {label}", samples=len(mine), clean=len(mine),
                robust=sum(mine), interval=clopper_pearson(sum(mine), len(mine)),
            )
        )  # fmt: skip
    record = ThreatRecord(
        threat=threat, clean_accuracy=1.0, robust_accuracy=count / max(n, 1),
        interval=clopper_pearson(count, n), samples=n, trusted=trusted,
        attacks=(AttackRecord(name="pgd", version=version, robust_accuracy_so_far=count / n),),
        classes=tuple(sorted(rows, key=lambda row: row.robust)),
    )  # fmt: skip
    shot = Example(
        threat=threat, index=n - 1, id=str(n - 1), label=0, clean_prediction=0,
        clean_confidence=0.9, prediction=1, confidence=0.8, attack="pgd", size=0.1,
        picture="examples/worst.png",
    )  # fmt: skip
    return AuditLog(
        status="complete", version="0.1.0", plan={"bouts": []},
        model=ModelRecord(name="net", classes=tuple(row.name for row in rows)),
        data=DataRecord(name="gate.npz", sha256="cd" * 32, samples=n),
        threats=(record,), findings=tuple(findings), trusted=trusted, seconds=1.0,
        examples=(shot,), samples=tuple(samples),
    )  # fmt: skip


@pytest.fixture
def log() -> Callable[..., AuditLog]:
    return build


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> None:
    """All modules that writing a run needs; pytester forgets what is imported under it."""
    write_run(build(), tmp_path_factory.mktemp("run"))


@pytest.fixture(autouse=True)
def _no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server or worker that runs these tests is not the one that they play."""
    names = ("GITHUB_STEP_SUMMARY", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT")
    for name in (*names, "PYTEST_XDIST_TESTRUNUID", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def plant(rendered: None, pytester: Any) -> Plant:
    """`plant(robust, n, ...)`: a project with a model and data whose audit is in the cache."""
    model, data = pytester.path / "model.bin", pytester.path / "gate.npz"
    model.write_bytes(b"weights")
    data.write_bytes(b"pictures")
    pytester.makeini(
        "[pytest]\nrobust_model = model.bin\nrobust_data = gate.npz\naddopts = --strict-markers"
    )

    def planted(*args: Any, threat: str = THREAT, seed: int = 0, **rest: Any) -> Path:
        settings = Settings(str(model), data=str(data), threat=(threat,), seed=seed)
        key = keys.audit_key(
            settings, str(keys.model_key(str(model))), str(keys.data_key(str(data)))
        )
        folder = Audits(pytester.path / ".pytest_cache" / "d" / "robustkit").place(settings, key)
        write_run(build(*args, threat=threat, **rest), folder)
        picture = folder / "examples" / "worst.png"
        picture.parent.mkdir(exist_ok=True)
        picture.write_bytes(b"a picture")
        return folder

    return planted
