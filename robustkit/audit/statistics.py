"""Intervals and tests for counts: exact where exactness is to be had.

Everything here is about `successes` of `n` independent samples; accuracies are fractions. Scipy is
imported on use, since the command line imports this module to print its help.
"""

from math import comb, sqrt
from typing import Literal

from robustkit.records import ThreatRecord

Alternative = Literal["lost", "gained", "two-sided"]
Interval = tuple[float, float]


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """The exact two-sided interval of Clopper & Pearson (1934) for a proportion.

    It covers the truth at least `confidence` of the time, for every n. No samples, no knowledge:
    `n == 0` gives (0, 1).

    >>> low, high = clopper_pearson(391, 500)
    >>> round(low, 3), round(high, 3)
    (0.743, 0.817)
    """
    tail = (1 - confidence) / 2
    return _low(successes, n, tail), _high(successes, n, tail)


def lower_bound(successes: int, n: int, confidence: float = 0.95) -> float:
    """The exact one-sided lower bound: the truth lies below it at most 1 - `confidence` often.

    >>> round(lower_bound(527, 1000), 3)
    0.5
    """
    return _low(successes, n, 1 - confidence)


def upper_bound(successes: int, n: int, confidence: float = 0.95) -> float:
    """The exact one-sided upper bound: the truth lies above it at most 1 - `confidence` often.

    >>> round(upper_bound(0, 59), 3)
    0.05
    """
    return _high(successes, n, 1 - confidence)


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """The score interval of Wilson (1927): shorter than the exact one, right on average only.

    >>> low, high = wilson(391, 500)
    >>> round(low, 3), round(high, 3)
    (0.744, 0.816)
    """
    from scipy.special import ndtri

    _check(successes, n)
    if not n:
        return 0.0, 1.0
    z = float(ndtri(1 - (1 - confidence) / 2))
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def paired_interval(both: int, gained: int, lost: int, samples: int) -> Interval:
    """The 95 % interval of a difference of proportions on the same samples.

    Newcombe 1998, method 10 (Statistics in Medicine 17, 2635): the score intervals of both
    proportions, put together with their correlation.

    >>> low, high = paired_interval(both=40, gained=35, lost=1, samples=100)
    >>> round(low, 3), round(high, 3)
    (0.236, 0.431)
    """
    neither = samples - both - gained - lost
    then, now = (both + lost) / samples, (both + gained) / samples
    low_then, high_then = wilson(both + lost, samples)
    low_now, high_now = wilson(both + gained, samples)
    product = (both + gained) * (both + lost) * (neither + gained) * (neither + lost)
    cross = both * neither - gained * lost
    # His correction for continuity, where the correlation is positive.
    cross_shrunk = max(cross - samples / 2, 0.0) if cross > 0 else float(cross)
    phi = cross_shrunk / sqrt(product) if product else 0.0

    def beyond(up: float, down: float) -> float:
        """How far the interval reaches, by what each proportion may be off."""
        return sqrt(max(0.0, up * up - 2 * phi * up * down + down * down))

    difference = now - then
    return (
        max(-1.0, difference - beyond(now - low_now, high_then - then)),
        min(1.0, difference + beyond(high_now - now, then - low_then)),
    )


def mcnemar(lost: int, gained: int, alternative: Alternative = "lost") -> float:
    """The p value of the exact McNemar test on paired samples.

    `lost` were right before and are wrong now, `gained` the other way round. Under the null
    hypothesis both are equally likely; `alternative` names the one that would be more frequent.

    >>> round(mcnemar(30, 10), 4), mcnemar(0, 0)
    (0.0011, 1.0)
    """
    if lost < 0 or gained < 0:
        raise ValueError(f"counts cannot be negative: {lost}, {gained}")
    if alternative == "gained":
        lost, gained = gained, lost
    elif alternative == "two-sided":
        return min(1.0, 2 * _half_tail(max(lost, gained), lost + gained))
    return _half_tail(lost, lost + gained)


def robust_count(record: ThreatRecord) -> int:
    """How many samples are robust: the accuracies of a record are exact fractions of `samples`."""
    return round(record.robust_accuracy * record.samples)


def _half_tail(at_least: int, n: int) -> float:
    """P(X >= at_least) for n throws of a fair coin."""
    if n <= 200:
        return float(sum(comb(n, k) for k in range(at_least, n + 1)) / 2**n)
    return _tail(at_least, n, 0.5)


def _tail(at_least: int, n: int, p: float) -> float:
    """P(X >= at_least) for X binomial (n, p)."""
    from scipy.special import betainc

    return 1.0 if at_least <= 0 else float(betainc(at_least, n - at_least + 1, p))


def _low(successes: int, n: int, tail: float) -> float:
    from scipy.special import betaincinv

    _check(successes, n)
    return float(betaincinv(successes, n - successes + 1, tail)) if successes else 0.0


def _high(successes: int, n: int, tail: float) -> float:
    from scipy.special import betaincinv

    _check(successes, n)
    if successes == n:
        return 1.0
    return float(betaincinv(successes + 1, n - successes, 1 - tail))


def _check(successes: int, n: int) -> None:
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} samples")
