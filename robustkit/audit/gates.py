"""Gates: a threshold on robust accuracy and what the samples can say about it.

A sample of a population proves little near a threshold: at the threshold itself the bare number
fails every second time. So there are three modes, and three verdicts.
"""

from robustkit.audit.statistics import lower_bound, robust_count, upper_bound
from robustkit.records import GateMode, GateRecord, ThreatRecord, Verdict
from robustkit.report.numbers import percent

Bounds = tuple[float, float]


def judge(record: ThreatRecord, at_least: float, mode: GateMode = "no-breach") -> GateRecord:
    """Judge whether robust accuracy is `at_least`, a fraction.

    - `no-breach`: FAIL when even the one-sided 95 % upper bound lies below; PASS when the measured
      number reaches the threshold; UNDECIDED between. At the threshold it fails at most 5 %.
    - `proven`: PASS when the one-sided 95 % lower bound reaches the threshold; FAIL as above.
    - `point`: the measured number alone; at the threshold it fails every second time.

    A number that is not trusted can fail a gate, since robust accuracy is an upper bound, but it
    cannot pass one. The record's `interval` holds both one-sided bounds.

    >>> record = ThreatRecord(threat="linf:0.1", clean_accuracy=0.9, robust_accuracy=0.472,
    ...                       interval=(0.441, 0.503), samples=1000)
    >>> judge(record, 0.45).verdict, judge(record, 0.45, "proven").verdict
    ('PASS', 'UNDECIDED')
    """
    count = robust_count(record)
    bounds = lower_bound(count, record.samples), upper_bound(count, record.samples)
    verdict, reason = _decide(record, at_least, mode, bounds)
    if verdict == "PASS" and not record.trusted:
        verdict = "UNDECIDED"
        reason = f"the number is not trusted, so it passes nothing; {percent(at_least)} was asked"
    return GateRecord(
        threat=record.threat,
        mode=mode,
        at_least=at_least,
        robust_accuracy=record.robust_accuracy,
        interval=bounds,
        samples=record.samples,
        verdict=verdict,
        reason=reason,
    )


def _decide(
    record: ThreatRecord, at_least: float, mode: GateMode, bounds: Bounds
) -> tuple[Verdict, str]:
    low, high = bounds
    measured = f"measured {percent(record.robust_accuracy)} on {record.samples} samples"
    wanted = f"{percent(at_least)} was asked"
    if not record.samples:
        return "UNDECIDED", f"no sample met the whole audit; {wanted}"
    if mode == "point":
        reached = record.robust_accuracy >= at_least
        return ("PASS" if reached else "FAIL"), f"{measured}; {wanted}"
    if high < at_least:
        return "FAIL", f"{measured}, so at most {percent(high)} (95 %); {wanted}"
    if mode == "proven":
        if low >= at_least:
            return "PASS", f"{measured}, so at least {percent(low)} (95 %); {wanted}"
        return "UNDECIDED", f"{measured} proves at least {percent(low)} (95 %); {wanted}"
    if record.robust_accuracy >= at_least:
        return "PASS", f"{measured}; {wanted}"
    return "UNDECIDED", f"{measured}, possibly as much as {percent(high)} (95 %); {wanted}"
