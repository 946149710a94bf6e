"""Where every sample stands under one threat: the columns that the records are made from."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustkit.audit.statistics import clopper_pearson
from robustkit.loading.samples import Samples
from robustkit.records import AttackRecord, ClassRecord, SampleRecord, ThreatRecord


@dataclass
class Clean:
    """What the model says of the unattacked pictures; tensors `[N]` on the host."""

    prediction: Tensor
    confidence: Tensor
    finite: Tensor
    classes: int

    def right(self, y: Tensor) -> Tensor:
        """Whether each picture is classified correctly."""
        return (self.prediction == y) & self.finite


@dataclass
class Tally:
    """What one attack did, summed over blocks."""

    attempted: int = 0
    fooled: int = 0
    lost: int = 0
    rounded_off: int = 0
    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0
    batch_size: int = 0
    robust_after: int = 0


@dataclass
class Standing:
    """The worst that any attack did to each of `n` samples under one threat.

    `attack` is "" where nothing succeeded. `reached` counts the samples that met the whole
    cascade: those before it in order.
    """

    threat: str
    n: int
    fooled: Tensor = field(init=False)
    prediction: Tensor = field(init=False)
    confidence: Tensor = field(init=False)
    size: Tensor = field(init=False)
    attack: list[str] = field(init=False)
    tallies: dict[str, Tally] = field(default_factory=dict)
    reached: int = 0

    def __post_init__(self) -> None:
        """Begin with everybody standing."""
        self.fooled = torch.zeros(self.n, dtype=torch.bool)
        self.prediction = torch.full((self.n,), -1)
        self.confidence = torch.zeros(self.n)
        self.size = torch.full((self.n,), torch.inf)
        self.attack = [""] * self.n

    def note(self, attack: str, rows: Tensor, columns: dict[str, list[float]]) -> None:
        """Write one unit's rulings; of several successes the smallest one stays."""
        for row, fooled, prediction, confidence, size in zip(
            rows.tolist(), columns["fooled"], columns["prediction"], columns["confidence"],
            columns["size"], strict=True,
        ):  # fmt: skip
            if fooled and (not self.fooled[row] or size < self.size[row]):
                self.fooled[row] = True
                self.prediction[row], self.confidence[row] = int(prediction), confidence
                self.size[row], self.attack[row] = size, attack

    def counted(self) -> slice:
        """The samples that count: those that met the whole cascade."""
        return slice(0, self.reached)

    def robust(self, right: Tensor) -> Tensor:
        """Whether each sample is right and stays right."""
        return right & ~self.fooled

    def record(self, samples: Samples, clean: Clean, attacks: list[AttackRecord]) -> ThreatRecord:
        """The verdict under this threat."""
        kept = self.counted()
        right = clean.right(samples.y)
        robust = self.robust(right)[kept]
        count = int(robust.sum())
        return ThreatRecord(
            threat=self.threat,
            clean_accuracy=int(right[kept].sum()) / max(self.reached, 1),
            robust_accuracy=count / max(self.reached, 1),
            interval=clopper_pearson(count, self.reached),
            samples=self.reached,
            attacks=tuple(attacks),
            classes=self._classes(samples, right[kept], robust),
            confusion=self._confusion(samples),
        )

    def _classes(self, samples: Samples, right: Tensor, robust: Tensor) -> tuple[ClassRecord, ...]:
        y = samples.y[self.counted()]
        rows = []
        for label in y.unique().tolist():
            member = y == label
            total, kept = int(member.sum()), int(robust[member].sum())
            rows.append(
                ClassRecord(
                    label=label,
                    name=class_name(samples.classes, label),
                    samples=total,
                    clean=int(right[member].sum()),
                    robust=kept,
                    interval=clopper_pearson(kept, total),
                )
            )
        return tuple(sorted(rows, key=lambda row: (row.robust / row.samples, row.label)))

    def _confusion(self, samples: Samples) -> tuple[tuple[int, int, int], ...]:
        counts: dict[tuple[int, int], int] = {}
        for row in range(self.reached):
            if self.fooled[row]:
                pair = int(samples.y[row]), int(self.prediction[row])
                counts[pair] = counts.get(pair, 0) + 1
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return tuple((label, other, count) for (label, other), count in ordered)

    def samples(self, samples: Samples, clean: Clean) -> list[SampleRecord]:
        """One record a sample that was reached."""
        right = clean.right(samples.y)
        records = []
        for row in range(self.reached):
            fooled = bool(self.fooled[row])
            outcome = "robust" if right[row] else "misclassified"
            records.append(
                SampleRecord(
                    threat=self.threat,
                    index=row,
                    id=samples.ids[row],
                    label=int(samples.y[row]),
                    outcome="fooled" if fooled else outcome,  # type: ignore[arg-type]
                    clean_prediction=int(clean.prediction[row]),
                    clean_confidence=float(clean.confidence[row]),
                    attack=self.attack[row],
                    prediction=int(self.prediction[row]),
                    confidence=float(self.confidence[row]),
                    size=float(self.size[row]) if fooled else 0.0,
                )
            )
        return records


def class_name(classes: tuple[str, ...], label: int) -> str:
    """The name of a class, or its number."""
    return classes[label] if 0 <= label < len(classes) else str(label)
