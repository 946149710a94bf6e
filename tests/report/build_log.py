"""A plausible audit log whose numbers agree with each other, and hostile ones."""

import io
import math
import random
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from robustkit.audit.gates import judge
from robustkit.audit.statistics import clopper_pearson
from robustkit.records import (
    AttackRecord,
    AuditLog,
    ClassRecord,
    DataRecord,
    Example,
    Finding,
    ModelRecord,
    SampleRecord,
    ThreatRecord,
    TraceRecord,
)

CLASSES = tuple(str(digit) for digit in range(10))
ATTACKS = ("fgsm", "pgd:steps=20", "apgd-ce", "square")
HOSTILE = (
    "<script>alert(1)</script>\x00\x1b[31m\x07\ufffe\u202e\"'&]]>-->|`${{7*7}}{% x %}\r\n::error::"
)


def build_log(
    threats: tuple[str, ...] = ("linf:0.05", "linf:0.1", "linf:0.2", "l2:1"),
    *,
    n: int = 500,
    classes: tuple[str, ...] = CLASSES,
    folder: Path | None = None,
    seed: int = 0,
) -> AuditLog:
    """A complete, trusted log; with `folder`, its example pictures are written there."""
    draw = random.Random(seed)
    labels = [draw.randrange(len(classes)) for _ in range(n)]
    right = [draw.random() < 0.96 for _ in range(n)]
    hardness = [draw.random() * (0.5 + label / 10) for label in labels]
    samples = [
        _sample(threat, index, labels[index], right[index], hardness[index], draw, len(classes))
        for threat in threats
        for index in range(n)
    ]
    records = tuple(
        _threat(threat, [one for one in samples if one.threat == threat], classes)
        for threat in threats
    )
    return AuditLog(
        status="complete",
        version="0.1.0",
        created="2026-01-02T03:04:05+00:00",
        command="robustkit audit zoo:digits-standard",
        plan={"suite": "standard", "threats": list(threats)},
        model=ModelRecord(
            name="zoo:digits-standard", sha256="ab" * 32, source="the zoo", classes=classes
        ),
        data=DataRecord(name="zoo:digits", sha256="cd" * 32, samples=n, shape=(1, 8, 8)),
        threats=records,
        findings=_findings(threats[0]),
        gates=tuple(
            judge(record, level)
            for record, level in zip(records, (0.9, 0.5, 0.5, 0.99), strict=False)
        ),
        environment={"python": "3.11", "torch": "2.13", "device": "cpu", "batch_size": 512},
        seconds=12.3,
        examples=_examples(samples, folder),
        samples=tuple(samples),
        traces=tuple(_trace(threats[0], index) for index in range(5)),
    )


def hostile_log(folder: Path | None = None) -> AuditLog:
    """The same with names that try to break every format."""
    log = build_log(
        ("linf:0.1",), n=60, classes=tuple(f"{HOSTILE}{k}" for k in range(10)), folder=folder
    )
    worst = log.threats[0]
    attack = worst.attacks[0].model_copy(update={"name": f"[red]{HOSTILE}"})
    return log.model_copy(
        update={
            "model": log.model.model_copy(update={"name": HOSTILE, "source": HOSTILE}),
            "data": log.data.model_copy(update={"name": HOSTILE}),
            "command": HOSTILE,
            "threats": (worst.model_copy(update={"threat": HOSTILE, "attacks": (attack,)}),),
            "findings": (Finding(id=HOSTILE, severity="high", message=HOSTILE, fix=HOSTILE),),
            "gates": (log.gates[0].model_copy(update={"threat": HOSTILE, "reason": HOSTILE}),),
            "environment": {HOSTILE: HOSTILE},
            "samples": tuple(
                one.model_copy(update={"threat": HOSTILE, "id": f"{HOSTILE}{one.index}"})
                for one in log.samples
            ),
        }
    )


def untrusted(log: AuditLog) -> AuditLog:
    """The same numbers, voided by a finding."""
    finding = Finding(
        id="RK-ZERO-GRADIENT",
        severity="high",
        message="16 of 16 probed pictures have no gradient at all.",
        fix="Give the stage a differentiable stand-in.",
    )
    return log.model_copy(
        update={
            "trusted": False,
            "findings": (finding, *log.findings),
            "threats": tuple(one.model_copy(update={"trusted": False}) for one in log.threats),
        }
    )


def _sample(
    threat: str, index: int, label: int, right: bool, hardness: float, draw: random.Random, k: int
) -> SampleRecord:
    norm, _, eps = threat.partition(":")
    reach = float(Fraction(eps)) * (4 if norm == "linf" else 0.5)
    fooled = right and hardness < reach
    other = (label + draw.choice((1, 1, 1, 3, 5))) % k
    return SampleRecord(
        threat=threat,
        index=index,
        id=f"{index:06d}",
        label=label,
        outcome="fooled" if fooled else "robust" if right else "misclassified",
        clean_prediction=label if right else other,
        clean_confidence=0.7 + 0.3 * draw.random(),
        attack=draw.choices(ATTACKS, (60, 30, 8, 2))[0] if fooled else "",
        prediction=other if fooled else -1,
        confidence=0.5 + 0.5 * draw.random() if fooled else 0.0,
        size=float(Fraction(eps)) * (0.3 + 0.7 * hardness / reach) if fooled else 0.0,
    )


def _threat(threat: str, rows: list[SampleRecord], classes: tuple[str, ...]) -> ThreatRecord:
    n, kept = len(rows), sum(row.outcome == "robust" for row in rows)
    confusion = Counter((row.label, row.prediction) for row in rows if row.outcome == "fooled")
    return ThreatRecord(
        threat=threat,
        clean_accuracy=sum(row.outcome != "misclassified" for row in rows) / n,
        robust_accuracy=kept / n,
        interval=clopper_pearson(kept, n),
        samples=n,
        attacks=_attacks(rows),
        classes=tuple(_class(label, name, rows) for label, name in enumerate(classes)),
        confusion=tuple((a, b, count) for (a, b), count in confusion.most_common()),
    )


def _attacks(rows: list[SampleRecord]) -> tuple[AttackRecord, ...]:
    left = sum(row.outcome != "misclassified" for row in rows)
    records = []
    for cost, name in enumerate(ATTACKS, 1):
        fooled = sum(row.attack == name for row in rows)
        met, left = left, left - fooled
        records.append(
            AttackRecord(
                name=name,
                attempted=met,
                fooled=fooled,
                robust_accuracy_alone=left / len(rows) if cost == 1 else None,
                robust_accuracy_so_far=left / len(rows),
                forwards=met * 20 * cost,
                backwards=met * 20 * cost if name != "square" else 0,
                seconds=0.7 * cost,
                access="scores" if name == "square" else "white-box",
            )
        )
    return tuple(records)


def _class(label: int, name: str, rows: list[SampleRecord]) -> ClassRecord:
    mine = [row for row in rows if row.label == label]
    kept = sum(row.outcome == "robust" for row in mine)
    return ClassRecord(
        label=label,
        name=name,
        samples=len(mine),
        clean=sum(row.outcome != "misclassified" for row in mine),
        robust=kept,
        interval=clopper_pearson(kept, len(mine)),
    )


def _findings(threat: str) -> tuple[Finding, ...]:
    return (
        Finding(
            id="RK-EIGHT-BIT",
            severity="info",
            message="31 of 310 successes vanish when pixels are rounded to 8 bits.",
            fix="Nothing to mend; read the number as one for float pixels.",
            threat=threat,
            evidence={"rounded": 31},
        ),
        Finding(
            id="RK-SATURATED",
            severity="low",
            message="Cross-entropy has no gradient on 2 of 16 probed pictures.",
            fix="Scale the logits down.",
        ),
    )


def _trace(threat: str, index: int) -> TraceRecord:
    """A loss that climbs, with one step that is not finite."""
    loss = [(1 - 0.9**step) * (index + 1) for step in range(20)]
    loss[7 + index] = math.nan
    return TraceRecord(
        threat=threat, attack="pgd", id=str(index), fooled=index % 2 == 0, loss=tuple(loss)
    )


def _examples(samples: list[SampleRecord], folder: Path | None) -> tuple[Example, ...]:
    fooled = [row for row in samples if row.outcome == "fooled"][:6]
    shown = []
    for row in fooled:
        picture = f"examples/{row.index}.png"
        if folder:
            path = folder / picture
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_png(row.index))
        keep = row.model_dump(exclude={"outcome"})
        shown.append(Example(**keep, picture=picture, saliency="" if shown else picture))
    return tuple(shown)


def _png(seed: int) -> bytes:
    draws = np.random.default_rng(seed)
    x = draws.random((8, 8))
    panels = np.concatenate([x, draws.random((8, 8)), x], axis=1).repeat(14, 0).repeat(14, 1)
    buffer = io.BytesIO()
    Image.fromarray((panels * 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
