"""What a failed gate says, in words: once, readable, with all that the number means."""

import os
from collections.abc import Container, Sequence
from pathlib import Path

from robustkit.records import AuditLog, ThreatRecord
from robustkit.report.numbers import accuracy, percent
from robustkit.report.run_directory import REPORT
from robustkit.report.text import plain
from robustkit.testing.judging import Judgement, class_words

PICTURES = 4


def breach(failed: Sequence[Judgement], log: AuditLog, folder: Path) -> str:
    """The message of a failed test; its first line says it all, the others where to look.

    Threat, measured accuracy, number of samples and what was asked; then the interval, the weakest
    class, the report, and pictures of the worst that was found.
    """
    lines = [_headline(one) for one in failed]
    state = "" if log.status == "complete" else f", {log.status} audit"
    lines.append(f"  model     {plain(log.model.name)} on {plain(log.data.name)}{state}")
    named = {one.threat for one in failed}
    for record in log.threats:
        if record.threat in named:
            lines += _facts(record)
    lines.append(f"  report    {shown(folder / REPORT)}")
    lines += [f"  picture   {one}" for one in pictures(log, folder, named)]
    return "\n".join(lines)


def pictures(log: AuditLog, folder: Path, threats: Container[str]) -> list[str]:
    """The most telling flips: what was taken for what, and the file that shows it."""
    shots = [one for one in log.examples if one.threat in threats] or log.examples
    names = log.model.classes

    def called(label: int) -> str:
        """The name of a class, or its number."""
        return plain(names[label]) if 0 <= label < len(names) else str(label)

    return [
        f"{shown(folder / one.picture)} ({called(one.label)} taken for {called(one.prediction)}, "
        f"{percent(one.confidence)} sure)"
        for one in shots[:PICTURES]
    ]


def shown(path: Path) -> str:
    """A path as short as it can be from here."""
    try:
        relative = os.path.relpath(path)
    except ValueError:  # another drive
        return str(path)
    return relative if len(relative) < len(str(path)) else str(path)


def _headline(one: Judgement) -> str:
    undecided = "undecided, " if one.verdict == "UNDECIDED" else ""
    return f"{plain(one.threat)}: {undecided}{plain(one.reason)}"


def _facts(record: ThreatRecord) -> list[str]:
    return [
        f"  clean     {percent(record.clean_accuracy)} are right without an attack",
        f"  robust    {accuracy(record)}",
        *(f"  weakest   {class_words(one)}" for one in record.classes[:1]),
    ]
