"""Judging while the samples still come in: looking early and often, without a price for it.

The bounds of a fixed number of samples are wrong for whoever stops when he likes the look of them.
These hold at all times at once (Ville's inequality). The samples must come in random order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, lgamma, log

from robustkit.records import GateMode, Verdict

PRIOR = 0.5
"""Both parameters of the Beta distribution that rates are mixed over (Jeffreys)."""
BISECTIONS = 50


@dataclass(frozen=True)
class ConfidenceSequence:
    """Intervals for a rate of which, with probability 1 - `alpha`, *all* cover the truth.

    Robbins (1970): the likelihood mixed over rates, divided by that of the true rate, is a
    martingale that starts at 1, so it ever reaches 1 / alpha with probability alpha at most.

    >>> low, high = ConfidenceSequence(0.05).update(391, 500)
    >>> round(low, 3), round(high, 3)
    (0.712, 0.843)
    """

    alpha: float = 0.05

    def update(self, successes: int, n: int) -> tuple[float, float]:
        """The interval after `successes` of `n` samples in all, counted from the first."""
        if not 0 <= successes <= n:
            raise ValueError(f"{successes} successes of {n} samples")
        if not n:
            return 0.0, 1.0
        mixed = _log_beta(PRIOR + successes, PRIOR + n - successes) - _log_beta(PRIOR, PRIOR)
        limit = mixed + log(self.alpha)

        def excluded(rate: float) -> bool:
            """Whether the counts speak against this rate."""
            return _log_likelihood(successes, n, rate) < limit

        share = successes / n
        low = _border(excluded, 0.0, share) if successes else 0.0
        high = _border(excluded, 1.0, share) if successes < n else 1.0
        return low, high


def decide(
    successes: int,
    n: int,
    at_least: float,
    *,
    mode: GateMode = "no-breach",
    margin: float = 0.1,
    alpha: float = 0.05,
) -> Verdict:
    """The verdict after `successes` of `n` samples; UNDECIDED means go on.

    Sequential probability ratio tests (Wald 1945) with thresholds 1 / alpha. However often one
    looks, a rate of `at_least` or more gets FAIL with probability `alpha` at most. PASS shows, up
    to the same error, under `no-breach` that the rate is above `at_least - margin`, under
    `proven` that it is above `at_least` itself. `point` needs all samples and stays undecided.

    >>> decide(10, 60, 0.5), decide(30, 60, 0.5), decide(55, 60, 0.5)
    ('FAIL', 'UNDECIDED', 'PASS')
    """
    if mode == "point":
        return "UNDECIDED"
    if at_least <= 0:
        return "PASS"
    below = max(at_least - margin, at_least / 2)
    above = min(at_least + margin, (1 + at_least) / 2)
    breach = _log_ratio(successes, n, below, at_least)
    safe = _log_ratio(successes, n, above, at_least) if mode == "proven" else -breach
    if breach >= -log(alpha):
        return "FAIL"
    return "PASS" if safe >= -log(alpha) else "UNDECIDED"


def _log_ratio(successes: int, n: int, rate: float, other: float) -> float:
    """How much more likely the counts are at `rate` than at `other`, as a logarithm.

    A rate that cannot have given the counts at all is as good as disproved.
    """
    if rate == other:
        return 0.0
    return _log_likelihood(successes, n, rate) - _log_likelihood(successes, n, other)


def _log_likelihood(successes: int, n: int, rate: float) -> float:
    """The logarithm of the probability of one order of these counts."""
    total = 0.0
    for count, chance in ((successes, rate), (n - successes, 1 - rate)):
        if count:
            total += count * log(chance) if chance > 0 else -inf
    return total


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def _border(excluded: Callable[[float], bool], outside: float, inside: float) -> float:
    """The rate between `outside` and `inside` where exclusion ends."""
    for _ in range(BISECTIONS):
        middle = (outside + inside) / 2
        if excluded(middle):
            outside = middle
        else:
            inside = middle
    return outside
