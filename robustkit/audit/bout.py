"""The bouts of an audit: block by block, each threat's attacks meet the samples that still stand.

Blocks come first, so that whatever stops the audit, the samples before it have met everything.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from robustkit.attacks import build, info
from robustkit.attacks.viewed import SURROGATE
from robustkit.audit.attacking import Result, judged
from robustkit.audit.device import halving
from robustkit.audit.engine import Engine, Task
from robustkit.audit.ledger import Ledger
from robustkit.audit.pictures import Pictures
from robustkit.audit.plan import Bout
from robustkit.audit.referee import predict
from robustkit.audit.standing import Clean, Standing, Tally
from robustkit.errors import RefusedError
from robustkit.goal import Goal
from robustkit.loading.endpoint import BudgetSpent
from robustkit.loading.samples import Samples
from robustkit.model import Classifier
from robustkit.records import AttackRecord
from robustkit.threat import ThreatModel

BLOCK = 512
"""Samples a block; with a budget blocks are smaller, so that it can end soon after time is up."""
BUDGET_BLOCK = 64


class Progress(Protocol):
    """What long work tells whoever watches."""

    def phase(self, text: str, total: int) -> None:
        """A new phase of `total` units begins."""

    def advance(self, n: int) -> None:
        """`n` units are done."""

    def note(self, text: str) -> None:
        """Something worth a line."""


class Silent:
    """Nobody watches."""

    def phase(self, text: str, total: int) -> None:
        """Say nothing."""

    def advance(self, n: int) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""


@dataclass
class Ring:
    """What every unit of work needs: model, samples, engine, ledger, pictures, and who watches."""

    model: Classifier
    samples: Samples
    engine: Engine
    ledger: Ledger
    pictures: Pictures
    progress: Progress = field(default_factory=Silent)
    deadline: float | None = None
    folder: Path | None = None

    @property
    def late(self) -> bool:
        """Whether the budget is spent."""
        return self.deadline is not None and time.monotonic() > self.deadline

    def clean_pass(self) -> Clean:
        """What the model says of every unattacked picture; not recorded, as it is quick to redo."""
        size = self.engine.batch_size
        self.progress.phase("clean pass", len(self.samples))
        parts = []
        for rows in _blocks(len(self.samples), BLOCK):
            parts.append(self._first_look(self.samples.pixels(rows), size))
            self.progress.advance(len(rows))
        prediction, confidence, finite = (torch.cat(column) for column in zip(*parts, strict=True))
        with torch.no_grad():
            logits = self.model(self.samples.pixels(slice(0, 1)).to(self.model.device))
        classes = logits.shape[1] if self.model.abstain is None else self.model.abstain
        return Clean(prediction, confidence, finite, classes)

    def _first_look(self, x: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Predictions; a model that cannot take these pictures at all is refused."""
        try:
            return halving(lambda batch: predict(self.model, x, batch), size)[0]
        except RuntimeError as error:
            raise RefusedError(
                f"a model that takes pictures of shape {list(x.shape[1:])}",
                str(error).splitlines()[0],
                "give the data this model was made for, or --preprocess with size=HxW",
            ) from error

    def fight(
        self, bouts: list[Bout], clean: Clean, decided: Callable[[dict[str, Standing]], bool]
    ) -> dict[str, Standing]:
        """Every threat's cascade over every block; standings by threat.

        Ends early when `decided`, asked after every block, says that nothing is left to find out.
        """
        count = len(self.samples)
        right = clean.right(self.samples.y)
        standings = {bout.threat: Standing(bout.threat, count) for bout in bouts}
        self.progress.phase("attacks", count * sum(len(bout.attacks) for bout in bouts))
        small = self.deadline is not None or self.model.access != "white-box"
        for rows in _blocks(count, BUDGET_BLOCK if small else BLOCK):
            for bout in bouts:
                if not self._cascade(bout, standings[bout.threat], rows, right):
                    return _level(standings)
                standings[bout.threat].reached = int(rows[-1]) + 1
            if decided(standings):
                break
        return standings

    def _cascade(self, bout: Bout, standing: Standing, rows: Tensor, right: Tensor) -> bool:
        """One block through one threat's attacks; whether it got to the end."""
        for attack in bout.attacks:
            pool = rows[right[rows]]
            if not bout.alone(attack):
                pool = pool[~standing.fooled[pool]]
            if not self.unit(attack, standing, pool, f"{int(rows[0])}"):
                return False
            left = right[rows] & ~standing.fooled[rows]
            standing.tallies[attack].robust_after += int(left.sum())
            self.progress.advance(len(rows))
        return True

    def unit(self, attack: str, standing: Standing, rows: Tensor, block: str) -> bool:
        """One unit of work, from the ledger if it is there; whether it is done.

        Only a unit that was done whole is noted: one cut short by the budget is none.
        """
        key = f"{standing.threat}|{attack}|{block}"
        columns = self.ledger.get(key)
        if columns is None:
            if self.late:
                return False
            threat = ThreatModel.parse(standing.threat, self.model.bounds)
            try:
                result = self.attack(attack, threat, rows) if len(rows) else None
            except BudgetSpent:
                self.deadline = time.monotonic()
                return False
            if result is not None and not result.complete:
                return False
            columns = _columns(rows, result)
            if result is not None:
                self.pictures.keep(key, rows, result)
            self.ledger.put(key, columns)
        standing.note(attack, torch.tensor(columns["rows"], dtype=torch.int64), columns)
        _add(standing.tallies.setdefault(attack, Tally()), columns)
        return True

    def attack(self, attack: str, threat: ThreatModel, rows: Tensor) -> Result:
        """One attack on some of the samples, judged; noted nowhere."""
        x, y = self.samples.pixels(rows), self.samples.y[rows]
        task = Task(self.model, x, Goal(y, abstain=self.model.abstain), threat, rows)
        torch.manual_seed(self.engine.seed)
        return judged(build(attack), task, replace(self.engine, deadline=self.deadline))


def attack_records(standing: Standing, bout: Bout, right: int) -> list[AttackRecord]:
    """The records of a threat's attacks, then of the trials that moved the number.

    `right` samples were attacked at first.
    """
    total = max(standing.reached, 1)
    records = []
    extra = [text for text in standing.tallies if text not in bout.attacks]
    for text in (*bout.attacks, *extra):
        tally = standing.tallies.get(text, Tally())
        measured = text in bout.attacks and bout.alone(text)
        records.append(
            AttackRecord(
                name=text,
                access=_access(text),
                settings=dict(build(text).settings),
                version=build(text).version,
                attempted=tally.attempted,
                fooled=tally.fooled,
                lost_claims=tally.lost,
                robust_accuracy_alone=(right - tally.fooled) / total if measured else None,
                robust_accuracy_so_far=tally.robust_after / total,
                forwards=tally.forwards,
                backwards=tally.backwards,
                seconds=tally.seconds,
                batch_size=tally.batch_size,
            )
        )
    return records


def _access(text: str) -> str:
    """What an attack needs of the model under test."""
    if text.endswith(f"@{SURROGATE}"):
        return "decisions"
    return info(text.partition(":")[0]).access


def _level(standings: dict[str, Standing]) -> dict[str, Standing]:
    """Every threat counts the same samples: those that all of them are done with."""
    reached = min(standing.reached for standing in standings.values())
    for standing in standings.values():
        standing.reached = reached
    return standings


def _blocks(count: int, size: int) -> Iterator[Tensor]:
    yield from torch.arange(count).split(size)


def _columns(rows: Tensor, result: Result | None) -> dict[str, Any]:
    """A unit as the ledger keeps it."""
    empty: list[float] = []
    if result is None:
        return {
            "rows": [], "fooled": empty, "prediction": empty, "confidence": empty, "size": empty,
            "lost": 0, "rounded_off": 0, "forwards": 0, "backwards": 0, "seconds": 0.0,
            "batch_size": 0,
        }  # fmt: skip
    return {
        "rows": rows.tolist(),
        "fooled": result.fooled.tolist(),
        "prediction": result.prediction.tolist(),
        "confidence": [round(value, 6) for value in result.confidence.tolist()],
        "size": [round(value, 9) for value in result.size.nan_to_num(0.0).tolist()],
        "lost": int(result.lost.sum()),
        "rounded_off": int((result.fooled & ~result.eight_bit).sum()),
        "forwards": result.forwards,
        "backwards": result.backwards,
        "seconds": round(result.seconds, 3),
        "batch_size": result.batch_size,
    }


def _add(tally: Tally, columns: dict[str, Any]) -> None:
    tally.attempted += len(columns["rows"])
    tally.fooled += sum(columns["fooled"])
    tally.lost += columns["lost"]
    tally.rounded_off += columns["rounded_off"]
    tally.forwards += columns["forwards"]
    tally.backwards += columns["backwards"]
    tally.seconds += columns["seconds"]
    tally.batch_size = max(tally.batch_size, columns["batch_size"])
