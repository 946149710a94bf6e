"""Verdicts of assertions: plain values, so that they travel from an xdist worker to the report."""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

from robustkit.audit.statistics import lower_bound, upper_bound
from robustkit.records import (
    AuditLog,
    ClassRecord,
    ComparisonRecord,
    GateMode,
    ThreatRecord,
    Verdict,
)
from robustkit.report.numbers import drop, percent, span
from robustkit.report.text import shorten
from robustkit.report.verdict import trust, trust_words

ERROR = 0.05
"""How often a gate may fail a model that is exactly as good as was asked."""


@dataclass(frozen=True)
class Judgement:
    """One assertion under one threat: what was asked, the verdict, and why."""

    assertion: str
    threat: str
    asked: str
    verdict: Verdict
    reason: str
    versus: str = ""


def judge_classes(record: ThreatRecord, at_least: float, mode: GateMode) -> Judgement:
    """Judge every class of a threat's record, as `audit.gates.judge` does the whole.

    Several classes are several chances to fail by bad luck. Their bounds are as much wider as it
    takes (Bonferroni), so that all together fail at most 5 % where each is as good as was asked.
    """
    error = ERROR / max(len(record.classes), 1)
    verdicts = [(_class_verdict(one, at_least, mode, error), one) for one in record.classes]
    worst: Verdict = "PASS"
    for wanted in ("FAIL", "UNDECIDED"):
        named = [class_words(one) for verdict, one in verdicts if verdict == wanted]
        if named:
            worst = wanted
            break
    else:
        named = [class_words(one) for one in record.classes[:1]]
    if worst == "PASS" and not record.trusted:
        worst, named = "UNDECIDED", ["the number is not trusted, so it passes nothing"]
    reason = f"{'; '.join(named)}: {percent(at_least)} was asked of every class"
    return Judgement("per-class", record.threat, f">= {percent(at_least)}", worst, reason)


def class_words(one: ClassRecord) -> str:
    """A class with its accuracy, interval and number of samples."""
    share = percent(one.robust / max(one.samples, 1))
    return f"class {shorten(one.name, 24)} {share} ({span(one.interval)}, n = {one.samples})"


def judge_drop(record: ComparisonRecord, max_drop: float) -> Judgement:
    """Judge whether robust accuracy fell by more than `max_drop`, a fraction.

    FAIL where the paired samples show it at 5 %: by the exact test of McNemar that anything was
    lost, and by the score test of Tango (1998) that it was more than `max_drop`. UNDECIDED where
    the measured drop is larger and could be chance.
    """
    lost = (record.lost - record.gained) / max(record.samples, 1)
    p = drop_p(record.lost, record.gained, record.samples, max_drop)
    verdict: Verdict = "PASS"
    if record.significant_drop and p < ERROR:
        verdict = "FAIL"
    elif lost > max_drop:
        verdict = "UNDECIDED"
    asked = f"drop <= {percent(max_drop)}"
    versus = f"{0.0 - 100 * lost:+.1f} (+{record.gained}/-{record.lost}) p = {record.p:.2g}"
    reason = f"{drop(record)}; a drop of {percent(max_drop)} at most was asked"
    return Judgement("no-regression", record.threat, asked, verdict, reason, versus)


def drop_p(lost: int, gained: int, n: int, allowed: float) -> float:
    """How likely so large a drop is where the true one is `allowed`, from `n` paired samples.

    The one-sided score test for a difference of paired proportions: Tango 1998, Statistics in
    Medicine 17, with the nuisance parameter at its restricted maximum likelihood.

    >>> round(drop_p(30, 10, 1000, 0.0), 4), round(drop_p(30, 10, 1000, 0.02), 2)
    (0.0008, 0.5)
    """
    if not n:
        return 1.0
    linear = (2 * n - lost + gained) * allowed - lost - gained
    root = sqrt(linear * linear + 8 * n * gained * allowed * (1 - allowed))
    rate = (root - linear) / (4 * n)
    variance = n * (2 * rate + allowed * (1 - allowed))
    if variance <= 0:
        return 1.0
    return 1 - NormalDist().cdf((lost - gained - n * allowed) / sqrt(variance))


def judge_trust(log: AuditLog) -> Judgement:
    """Judge whether the number can be relied upon; what is provisional is undecided."""
    verdicts: dict[str, Verdict] = {"trusted": "PASS", "provisional": "UNDECIDED"}
    status = trust(log)
    grave = [one for one in log.findings if one.severity in ("high", "medium")]
    found = "".join(f" {one.id}: {one.message} Fix: {one.fix}" for one in grave)
    verdict = verdicts.get(status, "FAIL")
    reason = f"{status}. {trust_words(log)}{found}"
    threats = ", ".join(one.threat for one in log.threats)
    return Judgement("trusted", threats, "trusted", verdict, reason)


def _class_verdict(one: ClassRecord, at_least: float, mode: GateMode, error: float) -> Verdict:
    reached = one.robust >= at_least * one.samples
    if mode == "point":
        return "PASS" if reached else "FAIL"
    if upper_bound(one.robust, one.samples, 1 - error) < at_least:
        return "FAIL"
    if mode == "proven":
        reached = lower_bound(one.robust, one.samples, 1 - error) >= at_least
    return "PASS" if reached else "UNDECIDED"
