"""The run directory: written atomically, read back strictly, and all that a report needs.

`audit.json` is the log without its samples, `samples.jsonl` has one row a sample and threat,
`report.html` is made from both and from the pictures in `examples/`.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from robustkit.atomic import write_text
from robustkit.errors import UserError
from robustkit.records import SCHEMA_VERSION, AuditLog, SampleRecord

AUDIT, SAMPLES, REPORT = "audit.json", "samples.jsonl", "report.html"


def write_run(log: AuditLog, folder: Path) -> None:
    """Write the log into `folder`; what was there before stays whole until the new is complete.

    The page comes last: should it fail, the numbers are safe. Raises ToolError where the folder
    cannot be written.
    """
    from robustkit.report import render

    rows = "".join(_line(sample.model_dump(mode="json")) for sample in log.samples)
    write_text(folder / SAMPLES, rows)
    write_text(folder / AUDIT, render_json(log))
    write_text(folder / REPORT, render(log, "html", folder))


def read_run(folder: Path) -> AuditLog:
    """Read a log with its samples from a run directory, or from its `audit.json`.

    Raises UserError where there is none, or none that this version can read.
    """
    path = folder / AUDIT if folder.is_dir() else folder
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(header, dict) and header.get("schema_version") != SCHEMA_VERSION:
            raise _unreadable(path, f"schema version {header.get('schema_version')}")
        rows = _rows(path.parent / SAMPLES)
        log = AuditLog.model_validate(header)
        return log.model_copy(update={"samples": tuple(map(SampleRecord.model_validate, rows))})
    except FileNotFoundError:
        raise UserError(
            f"a run directory with {AUDIT}", str(folder), "give the --out folder of an audit"
        ) from None
    except (OSError, RecursionError, ValidationError, ValueError) as error:
        raise _unreadable(path, f"{type(error).__name__}: {str(error).splitlines()[0]}") from None


def render_json(log: AuditLog, folder: Path | None = None) -> str:
    """The log without its samples as JSON; numbers that are not finite become null."""
    return json.dumps(finite(log.model_dump(mode="json")), indent=1, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """The same value with null for every float that JSON has no word for.

    >>> finite({"size": [1.0, float("inf")]})
    {'size': [1.0, None]}
    """
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    if isinstance(value, dict):
        return {str(key): finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return value


def _line(row: dict[str, Any]) -> str:
    return json.dumps(finite(row), allow_nan=False, separators=(",", ":")) + "\n"


def _rows(path: Path) -> list[Any]:
    if not path.exists():
        return []
    # Not splitlines: names may hold separators that it takes for the end of a line.
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def _unreadable(path: Path, what: str) -> UserError:
    return UserError(
        f"an audit of schema version {SCHEMA_VERSION}",
        f"{path}: {what}",
        "audit again, or read it with the version of robustkit that wrote it",
    )
