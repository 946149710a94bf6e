"""Faces of a run's gates: a section of the terminal, a job's summary, properties, pictures."""

from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from robustkit.report.markdown import code, prose
from robustkit.report.numbers import count, percent, span
from robustkit.report.run_directory import REPORT
from robustkit.report.text import plain
from robustkit.testing.messages import PICTURES

Record = dict[str, Any]
COLUMNS = ("gate", "n", "clean", "robust [95 %]", "asked", "vs baseline", "verdict")
WIDEST = 60


def title(records: Sequence[Record]) -> str:
    """How many gates, and how many audits were run for them.

    >>> title([])
    'robustkit: 0 gates, 0 audits run, 0 reused'
    """
    audits = {record["report"] for record in records}
    fresh = {record["report"] for record in records if record["fresh"]}
    gates = f"{len(records)} gate{'s' * (len(records) != 1)}"
    run = f"{len(fresh)} audit{'s' * (len(fresh) != 1)} run"
    return f"robustkit: {gates}, {run}, {len(audits - fresh)} reused"


def table(records: Iterable[Record]) -> list[str]:
    """One line a gate below a header, in columns."""
    rows = [COLUMNS, *(_row(record) for record in records)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(COLUMNS))]
    keep = [k for k in range(len(COLUMNS)) if any(row[k] for row in rows[1:])]
    return ["  ".join(row[k].ljust(widths[k]) for k in keep).rstrip() for row in rows]


def markdown(records: Sequence[Record]) -> str:
    """The same for a job's summary; what was not passed is explained below the table."""
    rows = [_row(record) for record in records]
    lines = [f"### {prose(title(records))}", "", f"| {' | '.join(COLUMNS)} |", "|---" * 7 + "|"]
    lines += [
        f"| {code(row[0]).replace('|', ' ')} | {' | '.join(prose(cell) for cell in row[1:])} |"
        for row in rows
    ]
    lines.append("")
    for record in records:
        if record["verdict"] != "PASS":
            lines.append(f"- **{record['verdict']}** {code(record['test'])}: "
                         f"{prose(record['reason'])}")  # fmt: skip
    return "\n".join(lines) + "\n\n"


def properties(records: Iterable[Record]) -> list[tuple[str, str]]:
    """Names and values for JUnit: a threat's numbers, each gate's verdict, what hooks added."""
    found: dict[str, str] = {}
    for record in records:
        threat = plain(record["threat"])
        if "samples" in record:
            low, high = record["interval"]
            found |= {
                f"{threat}.samples": str(record["samples"]),
                f"{threat}.clean_accuracy": f"{record['clean_accuracy']:.6g}",
                f"{threat}.robust_accuracy": f"{record['robust_accuracy']:.6g}",
                f"{threat}.interval": f"{low:.6g} {high:.6g}",
            }
        found[f"{threat}.trusted"] = str(record["trusted"]).lower()
        reason = plain(record["reason"])
        found[f"{threat}.{record['assertion']}"] = f"{record['verdict']}: {reason}"
        added = {key: value for key, value in record.items() if key not in _OURS}
        found |= {f"{threat}.{key}": plain(value) for key, value in added.items()}
    return list(found.items())


def html_extras(folders: Iterable[Path]) -> list[Any]:
    """What pytest-html shows beside a failed test: the report's place and the worst pictures."""
    from base64 import b64encode

    html = import_module("pytest_html.extras")
    extras = []
    for folder in folders:
        extras.append(html.url(str(folder / REPORT), name="robustkit report"))
        extras += [
            html.png(b64encode(picture.read_bytes()).decode(), name=picture.name)
            for picture in sorted(folder.glob("examples/*.png"))[:PICTURES]
        ]
    return extras


_OURS = {
    "test", "assertion", "threat", "asked", "verdict", "reason", "versus", "model", "trusted",
    "report", "fresh", "seconds", "samples", "clean_accuracy", "robust_accuracy", "interval",
}  # fmt: skip


def _row(record: Record) -> tuple[str, ...]:
    test = record["test"]
    name = test if test.startswith("robustkit::") else f"{test} {record['threat']}"
    n = clean = robust = ""
    if "samples" in record:
        n, clean = count(record["samples"]), percent(record["clean_accuracy"])
        robust = f"{percent(record['robust_accuracy'])} [{span(tuple(record['interval']))}]"
        robust = robust if record["trusted"] else "untrusted"
    cells = (n, clean, robust, record["asked"], record["versus"], record["verdict"])
    name = plain(name)
    return (name if len(name) <= WIDEST else f"...{name[3 - WIDEST :]}", *map(plain, cells))
