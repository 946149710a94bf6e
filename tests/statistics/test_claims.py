"""Claims: contradicted beyond the bound, and not by what is not trusted."""

import pytest

from robustkit.audit.claims import check_claim
from robustkit.audit.statistics import clopper_pearson
from robustkit.errors import UserError
from robustkit.records import ThreatRecord


def record(robust: int, n: int = 1000, *, trusted: bool = True) -> ThreatRecord:
    return ThreatRecord(
        threat="linf:8/255",
        clean_accuracy=1.0,
        robust_accuracy=robust / max(n, 1),
        interval=clopper_pearson(robust, n),
        samples=n,
        trusted=trusted,
    )


@pytest.mark.parametrize(
    ("claimed", "verdict"),
    [(0.71, "CONTRADICTED"), (0.53, "CONTRADICTED"), (0.52, "CONSISTENT"), (0.44, "EXCEEDED")],
)
def test_a_claim_is_held_against_the_bounds(claimed, verdict):
    claim = check_claim(record(500), claimed)
    assert claim.verdict == verdict
    assert "n = 1000" in claim.reason
    assert "linf:8/255" in claim.reason


def test_few_samples_contradict_little():
    assert check_claim(record(5, 10), 0.71).verdict == "CONSISTENT"


def test_an_untrusted_number_contradicts_but_never_confirms():
    assert check_claim(record(500, trusted=False), 0.71).verdict == "CONTRADICTED"
    assert check_claim(record(500, trusted=False), 0.5).verdict == "UNDECIDED"
    assert check_claim(record(0, 0), 0.5).verdict == "UNDECIDED"


@pytest.mark.parametrize("claimed", [71, -0.1, float("nan")])
def test_a_claim_that_is_no_fraction_is_refused(claimed):
    with pytest.raises(UserError):
        check_claim(record(500), claimed)
