"""Numbers as people read them: never without the number of samples, interval and threat."""

from robustkit.records import ComparisonRecord, ThreatRecord
from robustkit.report.text import plain


def percent(fraction: float) -> str:
    """A fraction as a percentage that says 0 or 100 only where it is exactly that.

    >>> percent(0.782), percent(1.0), percent(0.9999), percent(0.0001), percent(float("nan"))
    ('78.2 %', '100 %', '>99.9 %', '<0.1 %', 'n/a')
    """
    if fraction != fraction:  # noqa: PLR0124 - only nan differs from itself
        return "n/a"
    if fraction in (0.0, 1.0):
        return f"{fraction:.0%}".replace("%", " %")
    if 0 < fraction < 0.0005:
        return "<0.1 %"
    if 0.9995 <= fraction < 1:
        return ">99.9 %"
    return f"{100 * fraction:.1f} %"


def span(interval: tuple[float, float]) -> str:
    """An interval of fractions.

    >>> span((0.7434, 0.8172))
    '74.3 to 81.7 %'
    """
    low, high = (percent(end).removesuffix(" %") for end in interval)
    return f"{low} to {high} %"


def accuracy(record: ThreatRecord) -> str:
    """Robust accuracy with all that it means nothing without.

    >>> accuracy(ThreatRecord(threat="linf:0.1", clean_accuracy=0.95, robust_accuracy=0.782,
    ...                       interval=(0.743, 0.817), samples=500))
    '78.2 % (95 % interval 74.3 to 81.7 %, n = 500, linf:0.1)'
    """
    return (
        f"{percent(record.robust_accuracy)} (95 % interval {span(record.interval)}, "
        f"n = {record.samples}, {plain(record.threat)})"
    )


def count(number: int) -> str:
    """A count with thin groups: `1 234 567`, in thousands where it is long.

    >>> count(950), count(12345), count(1234567)
    ('950', '12 345', '1 234 567')
    """
    return f"{number:,}".replace(",", " ")


def duration(seconds: float) -> str:
    """A time in the unit that fits it.

    >>> duration(0.012), duration(74.2), duration(3725)
    ('0.01 s', '74 s', '62 min')
    """
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def hint(value: object) -> str:
    """A setting's value, short: floats without digits that say nothing.

    >>> hint(0.00784313725), hint(20), hint("linf")
    ('0.00784', '20', 'linf')
    """
    return f"{value:.3g}" if isinstance(value, float) else plain(value)


def drop(record: ComparisonRecord) -> str:
    """A paired comparison: both numbers, what changed, and how likely that is by chance."""
    return (
        f"{percent(record.baseline_accuracy)} then, {percent(record.current_accuracy)} now: "
        f"{record.lost} lost, {record.gained} gained of {record.samples}, p = {record.p:.2g}"
    )
