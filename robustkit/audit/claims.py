"""A published number beside the measured one, and whether both can be true."""

from robustkit.audit.statistics import lower_bound, robust_count, upper_bound
from robustkit.errors import UserError
from robustkit.records import ClaimRecord, ClaimVerdict, ThreatRecord
from robustkit.report.numbers import accuracy, percent


def check_claim(record: ThreatRecord, claimed: float) -> ClaimRecord:
    """Whether the measurement contradicts a `claimed` robust accuracy, a fraction.

    CONTRADICTED where the claim lies above the one-sided 95 % upper bound; since robust accuracy
    is itself an upper bound, this holds for a number that is not trusted as well. EXCEEDED where
    it lies below the lower bound: the attacks here were weaker than the published ones, or the
    samples easier. Raises UserError for a claim that is no fraction.

    >>> record = ThreatRecord(threat="linf:8/255", clean_accuracy=0.9, robust_accuracy=0.5,
    ...                       interval=(0.469, 0.531), samples=1000)
    >>> check_claim(record, 0.71).verdict, check_claim(record, 0.51).verdict
    ('CONTRADICTED', 'CONSISTENT')
    """
    if not 0 <= claimed <= 1:
        raise UserError("a claimed accuracy in [0, 1]", str(claimed), "write for example 0.71")
    count = robust_count(record)
    bounds = lower_bound(count, record.samples), upper_bound(count, record.samples)
    verdict, reason = _decide(record, claimed, bounds)
    return ClaimRecord(
        threat=record.threat,
        claimed=claimed,
        robust_accuracy=record.robust_accuracy,
        interval=bounds,
        samples=record.samples,
        verdict=verdict,
        reason=reason,
    )


def _decide(
    record: ThreatRecord, claimed: float, bounds: tuple[float, float]
) -> tuple[ClaimVerdict, str]:
    low, high = bounds
    said = f"{percent(claimed)} was claimed"
    if high < claimed:
        return "CONTRADICTED", f"{said}, but at most {percent(high)} is left: {accuracy(record)}"
    if not record.trusted or not record.samples:
        return "UNDECIDED", f"{said}; the measured number is not trusted, so it confirms nothing"
    if low > claimed:
        reason = "the attacks here were weaker than the published ones, or the samples easier"
        return "EXCEEDED", f"{said}, and {accuracy(record)} was measured: {reason}"
    return "CONSISTENT", f"{said}, and {accuracy(record)} was measured"
