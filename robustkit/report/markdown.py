"""The report as Markdown, for a pull request or a job's summary."""

import re
from collections.abc import Sequence
from pathlib import Path

from robustkit.records import AuditLog, ThreatRecord
from robustkit.report.defense_words import defense_words
from robustkit.report.numbers import count, drop, duration, percent, span
from robustkit.report.patch_words import namer, patch_words
from robustkit.report.text import plain, shorten
from robustkit.report.threats import title
from robustkit.report.verdict import (
    BOUND,
    headline,
    not_tested,
    ordered,
    sentence,
    trust,
    trust_words,
)

CLASSES_SHOWN = 5
_SPECIAL = re.compile(r"([\\`*_\[\]|~$])")
_BARE_PIPE = re.compile(r"(?<!\\)\|")
_BREAK = "&#8203;"
"""A space of no width: between `@` and a name, so that nobody is called by accident."""


def render_markdown(log: AuditLog, folder: Path | None = None) -> str:
    """The log as Markdown; names from elsewhere cannot make links, tags, tables or mentions."""
    parts = [
        f"## {prose(headline(log))}",
        f"**{trust(log)}**: {prose(trust_words(log))} {BOUND}",
        _made(log),
    ]
    for record in log.threats:
        parts += _threat(record, log)
    if log.gates or log.claims or log.comparisons:
        parts += ["### Gates", _judgements(log)]
    if log.findings:
        parts += ["### Findings", _findings(log)]
    parts += ["### Not tested", "\n".join(f"- {prose(one)}" for one in not_tested(log))]
    return "\n\n".join(parts) + "\n"


def prose(text: object) -> str:
    """Text that stays text in Markdown.

    >>> prose("<b> @me *x* http://a")
    '&lt;b&gt; @&#8203;me \\\\*x\\\\* http:&#8203;//a'
    """
    line = _SPECIAL.sub(r"\\\1", plain(text))
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = line.replace("@", f"@{_BREAK}").replace("://", f":{_BREAK}//")
    return re.sub(r"(?i)\bwww\.", f"www{_BREAK}.", line)


def code(text: object) -> str:
    """A name as code, short and in one piece.

    >>> code("a`b")
    "`a'b`"
    """
    return f"`{shorten(text, 80).replace('`', chr(39)) or '?'}`"


def _made(log: AuditLog) -> str:
    what = f"Model {code(log.model.name)}, data {code(log.data.name)} (n = {log.data.samples})"
    return f"{what}, seed {log.seed}, {duration(log.seconds)}."


def _threat(record: ThreatRecord, log: AuditLog) -> list[str]:
    rows = [
        (
            code(one.name),
            count(one.attempted),
            count(one.fooled),
            percent(one.robust_accuracy_so_far) if record.trusted else "untrusted",
            count(one.forwards),
            count(one.backwards),
            duration(one.seconds),
        )
        for one in record.attacks
    ]
    clean = f"{percent(record.clean_accuracy)} are classified correctly without an attack."
    header = ("attack", "met", "fooled", "still right", "forwards", "backwards", "time")
    parts = [
        f"### {code(title(record.threat))}",
        f"{prose(sentence(record, log))} {clean}",
        _table(header, rows, numeric=range(1, 7)),
    ]
    if record.trusted and len(record.classes) > 1:
        parts.append(_weakest(record))
    parts += [prose(words) for words in defense_words(record)]
    if record.trusted and record.patch:
        parts.append(prose(patch_words(record.patch, namer(log))))
    return parts


def _weakest(record: ThreatRecord) -> str:
    worst = sorted(record.classes, key=lambda one: (one.robust / max(one.samples, 1), one.label))
    shown = (
        f"{code(one.name)} {percent(one.robust / max(one.samples, 1))} "
        f"({span(one.interval)}, n = {one.samples})"
        for one in worst[:CLASSES_SHOWN]
    )
    return f"Weakest classes: {', '.join(shown)}."


def _judgements(log: AuditLog) -> str:
    rows = [
        (f"**{one.verdict}**", f"at least {percent(one.at_least)}, {one.mode}",
         code(title(one.threat)), prose(one.reason))
        for one in log.gates
    ]  # fmt: skip
    rows += [
        (f"**{one.verdict}**", f"claimed {percent(one.claimed)}", code(title(one.threat)),
         prose(one.reason))
        for one in log.claims
    ]  # fmt: skip
    rows += [
        ("**DROP**" if one.significant_drop else "**NO DROP**", f"against {code(one.baseline)}",
         code(title(one.threat)),
         drop(one))
        for one in log.comparisons
    ]  # fmt: skip
    return _table(("verdict", "about", "under", "because"), rows)


def _findings(log: AuditLog) -> str:
    return "\n".join(
        f"- **{one.severity}** {code(one.id)}"
        + (f" under {code(title(one.threat))}" if one.threat else "")
        + f": {prose(one.message)} *What to do:* {prose(one.fix)}"
        for one in ordered(log.findings)
    )


def _table(
    header: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = ()
) -> str:
    rule = ["---:" if column in numeric else "---" for column in range(len(header))]
    lines = ([_BARE_PIPE.sub(r"\\|", cell) for cell in cells] for cells in (header, rule, *rows))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
