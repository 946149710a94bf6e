"""Sequential gates and intervals: valid however often one looks, and cheap."""

import numpy as np
import pytest
from scipy.stats import norm

from robustkit.audit.sequential import ConfidenceSequence, decide
from robustkit.audit.statistics import clopper_pearson, upper_bound

PATHS = 3000
LEVEL = 0.05 + 2 * (0.05 * 0.95 / PATHS) ** 0.5
"""5 %, and two standard errors of the simulation."""


def paths(truth: float, n: int) -> np.ndarray:
    """Cumulated successes `[PATHS, n]`."""
    draws = np.random.default_rng(3).random((PATHS, n)) < truth
    return draws.cumsum(1)


def border(says, n: int) -> np.ndarray:
    """For 1..n samples the least number of successes for which `says` holds, n + 1 for none.

    `says(successes, n)` must be monotone in the successes; the border moves by one at most.
    """
    found, k = [], 0
    for size in range(1, n + 1):
        while k <= size and not says(k, size):
            k += 1
        while k > 0 and says(k - 1, size):
            k -= 1
        found.append(k)
    return np.array(found)


def stops(truth: float, threshold: float, n: int, mode: str = "no-breach") -> dict[str, np.ndarray]:
    """The time of each path's first PASS and first FAIL; n + 1 where it never comes."""
    counts = paths(truth, n)
    passed = counts >= border(lambda k, m: decide(k, m, threshold, mode=mode) == "PASS", n)
    failed = counts < border(lambda k, m: decide(k, m, threshold, mode=mode) != "FAIL", n)
    first = {"PASS": passed, "FAIL": failed}
    return {word: np.where(hit.any(1), hit.argmax(1) + 1, n + 1) for word, hit in first.items()}


def said(truth: float, threshold: float, n: int, mode: str = "no-breach") -> tuple[float, float]:
    """How often PASS, and how often FAIL, is the first that is said."""
    when = stops(truth, threshold, n, mode)
    passed = (when["PASS"] < when["FAIL"]).mean()
    failed = (when["FAIL"] < when["PASS"]).mean()
    return float(passed), float(failed)


@pytest.mark.parametrize("mode", ["no-breach", "proven"])
@pytest.mark.parametrize("threshold", [0.5, 0.1, 0.95])
def test_looking_at_every_sample_does_not_raise_false_alarms(mode, threshold):
    assert said(threshold, threshold, 800, mode)[1] <= LEVEL


def test_a_fixed_bound_looked_at_every_sample_does():
    counts = paths(0.5, 800)
    failed = counts < border(lambda k, m: upper_bound(k, m) >= 0.5, 800)
    assert failed.any(1).mean() > 0.2


@pytest.mark.parametrize("threshold", [0.5, 0.2])
def test_a_false_pass_is_as_rare(threshold):
    assert said(threshold - 0.1, threshold, 800)[0] <= LEVEL
    assert said(threshold, threshold, 800, "proven")[0] <= LEVEL


def test_it_is_decided_with_half_the_samples():
    # What a fixed number of samples needs for the same errors between 0.45 and 0.55.
    fixed = int(np.ceil((2 * norm.ppf(0.95) * 0.5 / 0.1) ** 2))
    means = []
    for truth in (0.35, 0.40, 0.45, 0.50, 0.55, 0.60, 0.65):
        when = stops(truth, 0.55, 2000)
        means.append(float(np.minimum(when["PASS"], when["FAIL"]).mean()))
    assert 265 <= fixed <= 275
    assert np.mean(means) <= fixed / 2
    assert max(means) <= fixed


def test_the_verdict_is_right_far_from_the_threshold():
    assert said(0.3, 0.5, 800)[1] > 0.99
    assert said(0.7, 0.5, 800)[0] > 0.99
    assert said(0.7, 0.5, 800, "proven")[0] > 0.99


def test_a_confidence_sequence_covers_at_all_times_at_once():
    sequence = ConfidenceSequence(0.05)
    counts = paths(0.3, 400)
    low = border(lambda k, m: sequence.update(k, m)[1] >= 0.3, 400)
    high = border(lambda k, m: sequence.update(k, m)[0] > 0.3, 400)
    left = ((counts < low) | (counts >= high)).any(1).mean()
    assert left <= LEVEL
    fixed_low = border(lambda k, m: clopper_pearson(k, m)[1] >= 0.3, 400)
    fixed_high = border(lambda k, m: clopper_pearson(k, m)[0] > 0.3, 400)
    assert ((counts < fixed_low) | (counts >= fixed_high)).any(1).mean() > 0.1


def test_a_confidence_sequence_narrows():
    sequence = ConfidenceSequence(0.05)
    widths = [high - low for low, high in (sequence.update(n // 2, n) for n in (0, 10, 100, 1000))]
    assert widths[0] == 1
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.12
    low, high = sequence.update(1000, 2000)
    fixed = clopper_pearson(1000, 2000)
    assert low < fixed[0] < fixed[1] < high


@pytest.mark.parametrize(
    ("successes", "n", "at_least", "mode", "expected"),
    [
        (0, 0, 0.5, "no-breach", "UNDECIDED"),
        (0, 0, 0.0, "no-breach", "PASS"),
        (99, 100, 1.0, "no-breach", "FAIL"),
        (100, 100, 1.0, "no-breach", "PASS"),
        (100, 100, 1.0, "proven", "UNDECIDED"),
        (0, 1000, 0.9, "point", "UNDECIDED"),
    ],
)
def test_the_ends_of_the_scale(successes, n, at_least, mode, expected):
    assert decide(successes, n, at_least, mode=mode) == expected
