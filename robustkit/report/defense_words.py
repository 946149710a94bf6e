"""What a defense bought, in sentences: what it is worth when known, and what its silence earns."""

from robustkit.records import RejectionRecord, ThreatRecord
from robustkit.report.numbers import percent

BALLS = ("linf", "l2", "l1", "l0")
"""Where two halves of a budget make a whole one."""


def defense_words(record: ThreatRecord) -> list[str]:
    """A paragraph each on knowledge and on abstaining; empty for an ordinary model.

    Nothing is said of a number that is not trusted.

    >>> record = ThreatRecord(threat="linf:0.1", clean_accuracy=0.95, robust_accuracy=0.27,
    ...                       interval=(0.2, 0.3), samples=500, oblivious_accuracy=0.955)
    >>> print(defense_words(record)[0])
    Attackers who do not know the defense leave 95.5 % right (oblivious), those who do 27.0 % \
(adaptive), n = 500. The second number counts.
    """
    if not record.trusted:
        return []
    parts = []
    if record.oblivious_accuracy is not None:
        parts.append(
            "Attackers who do not know the defense leave "
            f"{percent(record.oblivious_accuracy)} right (oblivious), those who do "
            f"{percent(record.robust_accuracy)} (adaptive), n = {record.samples}. "
            "The second number counts."
        )
    if record.rejection:
        parts.append(_silence(record.rejection, record.samples))
        if record.threat.partition(":")[0] in BALLS:
            parts.append(_implied(record.rejection))
    return parts


def _silence(one: RejectionRecord, samples: int) -> str:
    """Every number of a model that abstains, with what silence counts for in it."""
    shares = ", ".join(
        f"{percent(left)} up to {percent(share)}" for share, left in one.stratified[1:-1]
    )
    return (
        f"The model may abstain (n = {samples}): it does so on {percent(one.false_alarms)} of the "
        f"clean pictures; clean accuracy is {percent(one.clean_accuracy_without)} if it must "
        f"answer and {percent(one.clean_accuracy_with)} with silence as an error. Robust accuracy "
        f"is {percent(one.robust_accuracy)} if silence under attack is none, "
        f"{percent(one.no_credit)} if it is an error, and with silence an error at small "
        f"perturbations only (stratified, by share of the budget): {shares}."
    )


def _implied(one: RejectionRecord) -> str:
    """What a detector that robust would mean, beside what the model itself does there."""
    own = dict(one.stratified).get(0.5)
    kept = "" if own is None else f"; with silence an error the model itself keeps {percent(own)}"
    return (
        f"Robust accuracy of {percent(one.robust_accuracy)} with silence allowed implies, in "
        "principle, a classifier, too slow to be used, that has as much within half the budget "
        f"(Tramer 2022, arXiv 2107.11630){kept}. "
        "The wider that gap, the likelier is it that an attack was missed."
    )
