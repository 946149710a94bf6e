"""The page of scripts/optimality.py: records of distances in, tables and verdicts out."""

from collections.abc import Iterable, Sequence
from statistics import mean
from typing import Any, NamedTuple

import torch
from metered import optimality

# How much worse than the best implementation of the same attack ours may be.
SLACK = 0.03
Record = dict[str, Any]


class Line(NamedTuple):
    """One implementation: its score on each model, None where it was not run."""

    family: str
    label: str
    scores: tuple[float | None, ...]
    records: tuple[Record, ...]

    @property
    def ours(self) -> bool:
        """Whether it is one of this project's."""
        return self.label.startswith("robustkit")

    @property
    def score(self) -> float:
        """The mean over the models; AttackBench's global optimality, where it ran on all."""
        return mean(score for score in self.scores if score is not None)

    @property
    def everywhere(self) -> bool:
        """Whether it ran on every model."""
        return None not in self.scores


def lines(results: dict[str, list[Record]]) -> list[Line]:
    """Every implementation of a norm, best first; `results` holds the records of each model."""
    envelopes = {
        model: torch.tensor([record["nearest"] for record in records]).amin(0)
        for model, records in results.items()
    }
    found: dict[str, dict[str, Record]] = {}
    for model, records in results.items():
        for record in records:
            found.setdefault(record["label"], {})[model] = record
    made = [
        Line(
            next(iter(by.values()))["family"],
            label,
            tuple(
                optimality(torch.tensor(by[model]["nearest"]), envelopes[model])
                if model in by
                else None
                for model in results
            ),
            tuple(by.values()),
        )
        for label, by in found.items()
    ]
    return sorted(made, key=lambda line: (not line.everywhere, -line.score))


def verdicts(rows: Sequence[Line]) -> list[str]:
    """What is asked of us in a norm, each with `pass` or `FAIL`; only what ran on every model."""
    rows = [row for row in rows if row.everywhere]
    own, others = [r for r in rows if r.ours], [r for r in rows if not r.ours]
    if not own or not others:
        return ["Nothing to compare with."]
    texts = [_verdict("best of ours and best of theirs", own[0], others[0], slack=0.0)]
    for family in dict.fromkeys(row.family for row in own):
        theirs = [row for row in others if row.family == family]
        if theirs:
            best = next(row for row in own if row.family == family)
            texts.append(_verdict(family, best, theirs[0], slack=SLACK))
    return texts


def _verdict(what: str, own: Line, other: Line, *, slack: float) -> str:
    word = "pass" if own.score >= other.score - slack else "**FAIL**"
    return (
        f"| {what} | {own.label.removeprefix('robustkit ')} {own.score:.4f} "
        f"| {other.label} {other.score:.4f} | {own.score - other.score:+.4f} | {word} |"
    )


def section(norm: str, results: dict[str, list[Record]]) -> str:
    """The text of one norm."""
    rows = lines(results)
    heads = [f"{model} (n={len(found[0]['nearest'])})" for model, found in results.items()]
    table = [
        _row(["attack", "implementation", *heads, "mean", "found", "passes", "s", "note"]),
        "|---|---|" + "---|" * (len(heads) + 5),
    ]
    for row in rows:
        cells = ["" if score is None else f"{score:.3f}" for score in row.scores]
        whole = f"{row.score:.3f}" if row.everywhere else ""
        passes = mean(r["forwards"] + r["backwards"] for r in row.records)
        table.append(
            _row([
                row.family, f"**{row.label}**" if row.ours else row.label, *cells, whole,
                f"{mean(r['found'] for r in row.records):.2f}", f"{passes:.0f}",
                f"{sum(r['seconds'] for r in row.records):.0f}", _notes(row.records),
            ])
        )  # fmt: skip
    judged = [
        "| | ours | theirs | difference | |\n|---|---|---|---|---|", *verdicts(rows)
    ]  # fmt: skip
    return f"## {norm}\n\n" + "\n".join(table) + "\n\n" + "\n".join(judged) + "\n"


def _notes(records: Iterable[Record]) -> str:
    return "; ".join(dict.fromkeys(r["error"].splitlines()[0] for r in records if r["error"]))


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"
