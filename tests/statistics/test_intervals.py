"""Intervals cover, exactly computed; the paired test has the power and the level it should."""

import functools

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from robustkit.audit.statistics import clopper_pearson, lower_bound, mcnemar, upper_bound, wilson

RATES = np.linspace(0.005, 0.995, 67)


def coverage(interval, n: int) -> np.ndarray:
    """The exact probability, for each rate, that the interval covers it."""
    low, high = np.array([interval(k, n) for k in range(n + 1)]).T
    chance = binom.pmf(np.arange(n + 1)[:, None], n, RATES)
    return (chance * ((low[:, None] <= RATES) & (high[:, None] >= RATES))).sum(0)


@pytest.mark.parametrize("n", [1, 5, 20, 100, 500])
def test_the_exact_interval_covers_at_least_95_percent_everywhere(n):
    assert coverage(clopper_pearson, n).min() >= 0.95


@pytest.mark.parametrize("n", [5, 100, 500])
def test_one_sided_bounds_cover_at_least_95_percent_everywhere(n):
    assert coverage(lambda k, m: (lower_bound(k, m), 1.0), n).min() >= 0.95
    assert coverage(lambda k, m: (0.0, upper_bound(k, m)), n).min() >= 0.95


def test_wilson_covers_on_average_but_not_everywhere():
    covered = coverage(wilson, 100)
    assert covered.mean() == pytest.approx(0.95, abs=0.01)
    assert covered.min() < 0.95


def test_simulated_samples_are_covered():
    draws = np.random.default_rng(0).binomial(200, 0.3, 4000)
    table = np.array([clopper_pearson(k, 200) for k in range(201)])
    low, high = table[draws].T
    assert np.mean((low <= 0.3) & (high >= 0.3)) >= 0.95


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (3, 10), (391, 500), (1, 1)])
def test_intervals_agree_with_an_independent_implementation(k, n):
    for ours, method in ((clopper_pearson, "exact"), (wilson, "wilson")):
        theirs = binomtest(k, n).proportion_ci(method=method)
        assert ours(k, n) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_no_samples_are_no_knowledge():
    assert clopper_pearson(0, 0) == wilson(0, 0) == (0.0, 1.0)
    assert (lower_bound(0, 0), upper_bound(0, 0)) == (0.0, 1.0)


@pytest.mark.parametrize("count", [(-1, 5), (6, 5)])
def test_impossible_counts_are_refused(count):
    with pytest.raises(ValueError, match="of 5 samples"):
        clopper_pearson(*count)


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (3, 1), (30, 10), (150, 149), (400, 350)])
def test_mcnemar_agrees_with_the_binomial_test(lost, gained):
    for alternative, name in (("lost", "greater"), ("gained", "less"), ("two-sided", "two-sided")):
        expected = binomtest(lost, lost + gained, 0.5, name).pvalue if lost + gained else 1.0
        assert mcnemar(lost, gained, alternative) == pytest.approx(expected, rel=1e-9)


def power(n: int, lost: float, gained: float) -> float:
    """How often the one-sided test at 5 % sees a drop."""
    draws = np.random.default_rng(1).multinomial(n, [lost, gained, 1 - lost - gained], 3000)
    test = functools.cache(mcnemar)
    return float(np.mean([test(int(a), int(b)) < 0.05 for a, b, _ in draws]))


@pytest.mark.parametrize(
    ("n", "lost", "gained", "expected"),
    [(1000, 0.03, 0.01, 0.93), (500, 0.03, 0.01, 0.67), (2000, 0.05, 0.03, 0.92)],
)
def test_the_paired_test_has_the_power_that_is_promised(n, lost, gained, expected):
    assert power(n, lost, gained) == pytest.approx(expected, abs=0.025)


@pytest.mark.parametrize("flips", [0.01, 0.05, 0.2])
def test_equal_flips_raise_a_false_alarm_at_most_5_percent_of_the_time(flips):
    assert power(1000, flips, flips) <= 0.05
