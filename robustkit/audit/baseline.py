"""Baselines: one audit's outcome, sample by sample, small enough to be kept with the code.

A baseline is JSON with one bit a sample and threat. It names the samples by a digest and the
attacks by their versions, so that it is never compared with what was measured otherwise.
"""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from robustkit.atomic import write_text
from robustkit.audit.compare import Side, compare, compare_sides, rows_of, side
from robustkit.errors import UserError
from robustkit.records import AuditLog, ComparisonRecord, Record
from robustkit.report.run_directory import AUDIT, read_run


class BaselineThreat(Record):
    """One threat: versions of its attacks, and a bit a sample, the first sample the highest."""

    attacks: dict[str, int]
    robust_accuracy: float
    interval: tuple[float, float]
    robust: str


class Baseline(Record):
    """The file: what a later audit of the same samples is compared with."""

    baseline_version: Literal[1] = 1
    model: str
    model_sha256: str = ""
    data: str
    data_sha256: str
    ids_sha256: str
    samples: int
    threats: dict[str, BaselineThreat]


def write_baseline(log: AuditLog, path: Path) -> None:
    """Write the log's outcome as a baseline, atomically.

    Raises UserError for a log that is not trusted or has no samples: it cannot be one.
    """
    if not log.trusted:
        raise UserError(
            "a trusted audit", f"an untrusted one of {log.model.name}",
            "mend what its findings say and audit again",
        )  # fmt: skip
    kept = side(log, rows_of(log))
    baseline = Baseline(
        model=log.model.name,
        model_sha256=log.model.sha256,
        data=log.data.name,
        data_sha256=kept.data_sha256,
        ids_sha256=kept.ids_sha256,
        samples=kept.samples,
        threats={
            record.threat: BaselineThreat(
                attacks=kept.attacks[record.threat],
                robust_accuracy=record.robust_accuracy,
                interval=record.interval,
                robust=pack(kept.robust[record.threat]),
            )
            for record in log.threats
        },
    )
    write_text(path, json.dumps(baseline.model_dump(mode="json"), indent=1) + "\n")


def read_baseline(path: Path) -> Side:
    """Read a baseline as one side of a comparison.

    Raises UserError where there is none, or one that does not hold together.
    """
    try:
        baseline = Baseline.model_validate_json(path.read_text(encoding="utf-8"))
        return Side(
            name=baseline.model,
            data=baseline.data,
            data_sha256=baseline.data_sha256,
            ids_sha256=baseline.ids_sha256,
            samples=baseline.samples,
            trusted=True,
            attacks={name: one.attacks for name, one in baseline.threats.items()},
            robust={
                name: unpack(one.robust, baseline.samples) for name, one in baseline.threats.items()
            },
        )
    except (OSError, ValidationError, ValueError) as error:
        raise UserError(
            "a baseline file of robustkit",
            f"{path}: {type(error).__name__}: {str(error).splitlines()[0]}",
            "write one with --robust-update-baselines, or give a run directory",
        ) from None


def compare_baseline(baseline: Side, log: AuditLog) -> tuple[ComparisonRecord, ...]:
    """Compare a log with a baseline on all samples, a record a threat; raises as `compare`."""
    rows = rows_of(log)
    return compare_sides(baseline, side(log, rows), rows)


def check_readable(path: Path) -> None:
    """Raise UserError, before any work, where `compare_with` will find nothing to read."""
    if path.is_dir() or path.name == AUDIT:
        read_run(path)
    else:
        read_baseline(path)


def compare_with(path: Path, log: AuditLog) -> tuple[ComparisonRecord, ...]:
    """Compare a log with a baseline file, or with the run directory of an earlier audit."""
    if path.is_dir() or path.name == AUDIT:
        return compare(read_run(path), log)
    return compare_baseline(read_baseline(path), log)


def pack(bits: Sequence[bool]) -> str:
    """Bits as base64, filled up with zeros to whole bytes.

    >>> pack([True, False, True]), unpack("oA==", 3)
    ('oA==', (True, False, True))
    """
    text = "".join("01"[bit] for bit in bits)
    size = -(-len(bits) // 8)
    packed = int(text.ljust(8 * size, "0") or "0", 2).to_bytes(size, "big")
    return base64.b64encode(packed).decode()


def unpack(text: str, n: int) -> tuple[bool, ...]:
    """The first `n` bits of what `pack` wrote; raises ValueError where they are not that many."""
    packed = base64.b64decode(text, validate=True)
    if len(packed) != -(-n // 8):
        raise ValueError(f"{8 * len(packed)} bits for {n} samples")
    return tuple(bool(packed[k // 8] >> (7 - k % 8) & 1) for k in range(n))
