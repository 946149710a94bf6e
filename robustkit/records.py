"""The audit log and its parts: frozen, versioned, plain values. Torch is not imported here.

The log is the product: every face (terminal, HTML, JUnit, exit code) only reads it.
Accuracies are fractions in [0, 1] of *all* audited samples, misclassified ones included.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

SCHEMA_VERSION: Literal[1] = 1

Severity = Literal["info", "low", "medium", "high"]
Status = Literal["complete", "partial", "interrupted"]
Verdict = Literal["PASS", "FAIL", "UNDECIDED"]
GateMode = Literal["no-breach", "proven", "point"]
Outcome = Literal["misclassified", "fooled", "robust", "pending"]
ClaimVerdict = Literal["CONTRADICTED", "CONSISTENT", "EXCEEDED", "UNDECIDED"]
Real = Annotated[float, BeforeValidator(lambda value: float("nan") if value is None else value)]
"""A float that JSON may have had to write as null, since it has no word for what is not finite."""


class Record(BaseModel):
    """A frozen record that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=True)


class ModelRecord(Record):
    """What was audited: `sha256` is that of the weights, "" where there is no file."""

    name: str
    sha256: str = ""
    source: str = ""
    preprocess: dict[str, Any] = Field(default_factory=dict)
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class DataRecord(Record):
    """The samples it was audited on; `shape` is that of one picture, (C, H, W)."""

    name: str
    sha256: str = ""
    samples: int
    shape: tuple[int, ...] = ()


class AttackRecord(Record):
    """One attack of the cascade against one threat, and what it cost.

    `robust_accuracy_alone` is None where the attack met only what earlier ones had left over.
    `forwards` and `backwards` count samples passed through the model, not batches. `access` is
    what the attack needs to see, as in the catalogue: white-box, scores, decisions, ...
    """

    name: str
    settings: dict[str, Any] = Field(default_factory=dict)
    version: int = 1
    attempted: int = 0
    fooled: int = 0
    lost_claims: int = 0
    robust_accuracy_alone: float | None = None
    robust_accuracy_so_far: float
    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0
    batch_size: int = 0
    access: str = ""


class ClassRecord(Record):
    """One class: how many samples, how many right, how many still right under attack."""

    label: int
    name: str
    samples: int
    clean: int
    robust: int
    interval: tuple[float, float]


class CurvePoint(Record):
    """Robust accuracy at one budget, from the smallest perturbations that were found."""

    eps: float
    robust_accuracy: float
    interval: tuple[float, float]


class PatchShare(Record):
    """How many of `samples` a patch fooled; `name` is its size, its place or its target's label."""

    name: str
    fooled: int
    samples: int
    interval: tuple[float, float]


class PatchRecord(Record):
    """Success of a patch on `samples` pictures that are right without it, attack by attack.

    `sizes` are HEIGHTxWIDTH, smallest first; `places` row by row, from the top left, as shares of
    the room there is; `targets` are labels.
    """

    samples: int
    sizes: tuple[PatchShare, ...]
    places: tuple[PatchShare, ...]
    targets: tuple[PatchShare, ...]


class RejectionRecord(Record):
    """A model that abstains: accuracies are fractions of all samples, silence is no error in some.

    `clean_accuracy_without` is that of a model that must answer; `with`, silence is an error.
    `false_alarms` is the share of clean pictures that get no answer. `robust_accuracy` lets
    silence pass under attack, `no_credit` does not; `stratified` pairs a share of the budget with
    the robust accuracy when silence at smaller perturbations than that is an error.
    """

    clean_accuracy_without: float
    clean_accuracy_with: float
    false_alarms: float
    robust_accuracy: float
    no_credit: float
    stratified: tuple[tuple[float, float], ...]


class ThreatRecord(Record):
    """The verdict under one threat model; `interval` is the exact 95 % Clopper-Pearson one.

    `oblivious_accuracy` is that against pictures made on the model without its defense, None where
    there is no defense: `robust_accuracy` counts the attackers who know of it. `rejection` is for
    a model that abstains.
    """

    threat: str
    clean_accuracy: float
    robust_accuracy: float
    interval: tuple[float, float]
    samples: int
    attacks: tuple[AttackRecord, ...] = ()
    classes: tuple[ClassRecord, ...] = ()
    confusion: tuple[tuple[int, int, int], ...] = ()
    trusted: bool = True
    curve: tuple[CurvePoint, ...] = ()
    patch: PatchRecord | None = None
    oblivious_accuracy: float | None = None
    rejection: RejectionRecord | None = None


class Finding(Record):
    """Something a reader of the number must know; `id` is explained by `robustkit explain`."""

    id: str
    severity: Severity
    message: str
    fix: str
    threat: str = ""
    evidence: dict[str, Any] = Field(default_factory=dict)


class GateRecord(Record):
    """One threshold and its verdict; `interval` is the one the verdict was taken from."""

    threat: str
    mode: GateMode
    at_least: float
    robust_accuracy: float
    interval: tuple[float, float]
    samples: int
    verdict: Verdict
    reason: str


class ClaimRecord(Record):
    """A published robust accuracy beside the measured one, and whether they can both be true."""

    threat: str
    claimed: float
    robust_accuracy: float
    interval: tuple[float, float]
    samples: int
    verdict: ClaimVerdict
    reason: str


class ComparisonRecord(Record):
    """Two audits of the same samples under the same threat, sample by sample.

    `lost` were robust in the baseline and are no more, `gained` the other way round; `p` is the
    exact McNemar probability, one-sided, that as many are lost by chance. `by_class` holds (label,
    samples, lost, gained); `regressions` the ids of the lost samples.
    """

    threat: str
    baseline: str
    current: str
    samples: int
    baseline_accuracy: float
    current_accuracy: float
    lost: int
    gained: int
    p: float
    significant_drop: bool
    by_class: tuple[tuple[int, int, int, int], ...] = ()
    regressions: tuple[str, ...] = ()


class SampleRecord(Record):
    """One sample under one threat: the worst that any attack of the audit did to it.

    `size` is the perturbation's norm in the threat's own norm; `attack` is the one that fooled it.
    """

    threat: str
    index: int
    id: str
    label: int
    outcome: Outcome
    clean_prediction: int
    clean_confidence: Real
    attack: str = ""
    prediction: int = -1
    confidence: Real = 0.0
    size: Real = 0.0


class Example(Record):
    """A flip worth showing; pictures are files beside the log, relative to the run directory.

    `saliency`, where there is one, shows where the model looked before and after.
    """

    threat: str
    index: int
    id: str
    label: int
    clean_prediction: int
    clean_confidence: Real
    prediction: int
    confidence: Real
    attack: str
    size: Real
    picture: str
    saliency: str = ""


class TraceRecord(Record):
    """What one attack did to one sample, step by step; shows why an attack succeeds or fails."""

    threat: str
    attack: str
    id: str
    fooled: bool
    loss: tuple[Real, ...]
    size: tuple[Real, ...] = ()


class AuditLog(Record):
    """Everything one audit found out; `samples` lie in a file of their own on disk."""

    schema_version: Literal[1] = SCHEMA_VERSION
    status: Status
    version: str = ""
    created: str = ""
    command: str = ""
    plan: dict[str, Any] = Field(default_factory=dict)
    model: ModelRecord
    data: DataRecord
    threats: tuple[ThreatRecord, ...]
    findings: tuple[Finding, ...] = ()
    trusted: bool = True
    gates: tuple[GateRecord, ...] = ()
    claims: tuple[ClaimRecord, ...] = ()
    comparisons: tuple[ComparisonRecord, ...] = ()
    environment: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    seconds: float = 0.0
    examples: tuple[Example, ...] = ()
    traces: tuple[TraceRecord, ...] = ()
    samples: tuple[SampleRecord, ...] = Field(default=(), exclude=True)

    @property
    def clean_accuracy(self) -> float:
        """Clean accuracy, the same under every threat."""
        return self.threats[0].clean_accuracy

    @property
    def robust_accuracy(self) -> float:
        """The lowest robust accuracy over the audited threats."""
        return self.worst.robust_accuracy

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `robust_accuracy`."""
        return self.worst.interval

    @property
    def worst(self) -> ThreatRecord:
        """The threat with the lowest robust accuracy."""
        return min(self.threats, key=lambda threat: threat.robust_accuracy)
