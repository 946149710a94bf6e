"""The report on a detector: average precision before and after, what vanished, and pictures."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from robustkit.report.numbers import percent, span
from robustkit.report.page import address, fill
from robustkit.report.threats import title, words


class Drawing(NamedTuple):
    """A PNG of a picture before and after, and what to say of it."""

    png: bytes
    caption: str


def render_detection(facts: dict[str, Any], drawings: Sequence[Drawing] = ()) -> str:
    """The page of one attack on a detector, from what `robustkit detect` writes as JSON."""
    filters: dict[str, Callable[..., Any]] = {"span": span, "title": title, "words": words}
    shown = [(address(one.png), one.caption) for one in drawings]
    return fill(
        "detection.html.j2",
        filters,
        facts=facts,
        headline=headline(facts),
        drawings=shown,
        conditions=[(name, facts[name]) for name in ("clean", "control", "attacked")],
        provenance=[(key, facts[key]) for key in PROVENANCE if facts.get(key) not in (None, "")],
    )


PROVENANCE = (
    "model", "sha256", "source", "data", "data_sha256", "pictures", "objects", "trained_on",
    "threat", "objective", "target_name", "attack", "confidence", "seed", "seconds", "version",
)  # fmt: skip


def headline(facts: dict[str, Any]) -> str:
    """The sentence that matters, with everything that its numbers mean nothing without.

    >>> gone = {"rate": 0.9, "count": 9, "of": 10, "interval": (0.55, 1.0)}
    >>> before, after = ({"map": m, "map_interval": (m - 0.1, m + 0.1)} for m in (0.5, 0.1))
    >>> headline({"threat": "linf:8/255", "clean": before, "attacked": after, "vanished": gone,
    ...           "pictures": 7})
    'linf:8/255 takes mAP from 50.0 % (95 % interval 40.0 to 60.0 %) to 10.0 % (0 to 20.0 %) on 7
     pictures; 9 of 10 objects that were found vanish (90.0 %, 55.0 to 100 %)'
    """
    gone, after = facts["vanished"], facts["attacked"]
    return (
        f"{facts['threat']} takes mAP from {mean_precision(facts['clean'])} to "
        f"{percent(after['map'])} ({span(tuple(after['map_interval']))}) on {facts['pictures']} "
        f"pictures; {gone['count']} of {gone['of']} objects that were found vanish "
        f"({percent(gone['rate'])}, {span(tuple(gone['interval']))})"
    )


def mean_precision(row: dict[str, Any]) -> str:
    """Mean average precision of a row of the report, with its interval.

    >>> mean_precision({"map": 0.5, "map_interval": [0.41, 0.6]})
    '50.0 % (95 % interval 41.0 to 60.0 %)'
    """
    return f"{percent(row['map'])} (95 % interval {span(tuple(row['map_interval']))})"
