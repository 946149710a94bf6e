"""The report as JUnit XML: what a CI server shows. A projection; the evidence is the log.

One suite for each kind of judgement. A breached gate is a failure; what could not be decided, is
not trusted or did not finish is an error; numbers are properties of the suite.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from robustkit.records import AuditLog
from robustkit.report.numbers import drop, percent
from robustkit.report.text import plain, xml_text
from robustkit.report.threats import title
from robustkit.report.verdict import headline, trust_words


class Case(NamedTuple):
    """One test case; `kind` is "", "failure" or "error"."""

    name: str
    group: str
    kind: str = ""
    type: str = ""
    message: str = ""


def render_junit(log: AuditLog, folder: Path | None = None) -> str:
    """The log as JUnit XML, without any character that XML forbids."""
    suites = {
        "robustkit.audit": _audit(log),
        "robustkit.gates": _gates(log),
        "robustkit.claims": _claims(log),
        "robustkit.baseline": _comparisons(log),
    }
    root = Element("testsuites")
    every = [case for cases in suites.values() for case in cases]
    _counts(root, "robustkit", every, log.seconds)
    for name, cases in suites.items():
        if cases:
            _suite(root, name, cases, log)
    indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{tostring(root, encoding="unicode")}\n'


def _suite(root: Element, name: str, cases: list[Case], log: AuditLog) -> None:
    """One suite; the audit's own carries the numbers and the time."""
    whole = name == "robustkit.audit"
    suite = SubElement(root, "testsuite")
    _counts(suite, name, cases, log.seconds if whole else 0.0)
    suite.set("skipped", "0")
    if log.created:
        suite.set("timestamp", _safe(log.created)[:19])
    if whole:
        properties = SubElement(suite, "properties")
        for key, value in _numbers(log):
            SubElement(properties, "property", name=_safe(key), value=_safe(value))
    for one in cases:
        case = SubElement(suite, "testcase", name=_safe(one.name), classname=_safe(one.group))
        case.set("time", "0.000")
        if one.kind:
            verdict = SubElement(case, one.kind, type=one.type, message=_safe(one.message))
            verdict.text = _safe(one.message)


def _counts(element: Element, name: str, cases: Iterable[Case], seconds: float) -> None:
    kinds = [case.kind for case in cases]
    element.set("name", name)
    element.set("tests", str(len(kinds)))
    element.set("failures", str(kinds.count("failure")))
    element.set("errors", str(kinds.count("error")))
    element.set("time", f"{seconds:.3f}")


def _audit(log: AuditLog) -> list[Case]:
    group = log.model.name
    complete = Case("the audit is complete", group)
    if log.status != "complete":
        complete = complete._replace(kind="error", type=log.status, message=headline(log))
    trusted = Case("the number can be trusted", group)
    if not log.trusted:
        message = f"{headline(log)} {trust_words(log)}"
        trusted = trusted._replace(kind="error", type="untrusted", message=message)
    return [complete, trusted]


def _gates(log: AuditLog) -> list[Case]:
    kinds = {"PASS": "", "FAIL": "failure", "UNDECIDED": "error"}
    return [
        Case(
            f"robust accuracy under {title(one.threat)} at least {percent(one.at_least)}",
            f"{log.model.name}.{one.mode}",
            kinds[one.verdict],
            one.verdict.lower(),
            one.reason,
        )
        for one in log.gates
    ]


def _claims(log: AuditLog) -> list[Case]:
    return [
        Case(
            f"claimed robust accuracy {percent(one.claimed)} under {title(one.threat)}",
            log.model.name,
            "failure" if one.verdict == "CONTRADICTED" else "",
            one.verdict.lower(),
            one.reason,
        )
        for one in log.claims
    ]


def _comparisons(log: AuditLog) -> list[Case]:
    return [
        Case(
            f"no significant drop under {title(one.threat)}",
            f"{log.model.name} against {one.baseline}",
            "failure" if one.significant_drop else "",
            "regression",
            drop(one),
        )
        for one in log.comparisons
    ]


def _numbers(log: AuditLog) -> list[tuple[str, str]]:
    rows = [("model", log.model.name), ("data", log.data.name), ("seed", str(log.seed))]
    for one in log.threats:
        low, high = one.interval
        rows += [
            (f"{one.threat}.samples", str(one.samples)),
            (f"{one.threat}.clean_accuracy", f"{one.clean_accuracy:.6g}"),
            (f"{one.threat}.trusted", str(one.trusted).lower()),
        ]
        if one.trusted:
            rows += [
                (f"{one.threat}.robust_accuracy", f"{one.robust_accuracy:.6g}"),
                (f"{one.threat}.interval", f"{low:.6g} {high:.6g}"),
            ]
    return rows


def _safe(text: object) -> str:
    return xml_text(plain(text))
