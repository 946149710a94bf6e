"""What hardening changed, picture by picture: robustness gained, clean accuracy paid."""

from typing import TYPE_CHECKING

from robustkit.audit.statistics import Interval, paired_interval
from robustkit.records import AuditLog, Record
from robustkit.report.numbers import percent
from robustkit.verbs.console import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

CLEAN = "clean"


class Change(Record):
    """One accuracy of two models on the same pictures; `of` is a threat, or "clean".

    `gained` pictures are right only after, `lost` ones only before. `interval` is the paired 95 %
    interval of the difference, after minus before. Accuracies are fractions of `samples`.
    """

    of: str
    samples: int
    before: float
    after: float
    gained: int
    lost: int
    interval: Interval

    @property
    def difference(self) -> float:
        """After minus before."""
        return (self.gained - self.lost) / self.samples


def changes(before: AuditLog, after: AuditLog) -> tuple[Change, ...]:
    """Clean accuracy first, then robust accuracy under each threat.

    Each side is the worst case of all attacks that its audit made: where a defense stands before a
    model, the audit of both makes more of them, so that a gain is a gain against the harder exam.
    """
    first = before.threats[0].threat
    sides = [
        (CLEAN, _right(before, first, clean=True), _right(after, first, clean=True)),
        *(
            (one.threat, _right(before, one.threat), _right(after, one.threat))
            for one in before.threats
        ),
    ]
    return tuple(_change(of, was, now) for of, was, now in sides)


def _right(log: AuditLog, threat: str, *, clean: bool = False) -> dict[str, bool]:
    """By sample id, who is classified right, or is robust."""
    good = ("fooled", "robust") if clean else ("robust",)
    return {one.id: one.outcome in good for one in log.samples if one.threat == threat}


def _change(of: str, was: dict[str, bool], now: dict[str, bool]) -> Change:
    assert was.keys() == now.keys(), "both audits are made on the same pictures"
    gained = sum(now[key] and not was[key] for key in was)
    lost = sum(was[key] and not now[key] for key in was)
    both = sum(was[key] and now[key] for key in was)
    samples = len(was)
    return Change(
        of=of, samples=samples, before=(both + lost) / samples, after=(both + gained) / samples,
        gained=gained, lost=lost, interval=paired_interval(both, gained, lost, samples),
    )  # fmt: skip


def lines(found: "Sequence[Change]") -> list[str]:
    """A line each, as a person reads it."""
    return [
        f"{_name(one)}: {_points(one.difference)} ({_points(one.interval[0])} to "
        f"{_points(one.interval[1])}, paired 95 % interval, n = {one.samples}): "
        f"{percent(one.before)} before, {percent(one.after)} after; "
        f"{one.gained} gained, {one.lost} lost"
        for one in found
    ]


def _name(one: Change) -> str:
    return "clean accuracy" if one.of == CLEAN else f"robust accuracy under {plain(one.of)}"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f} points"
