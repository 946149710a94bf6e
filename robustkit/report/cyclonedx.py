"""The numbers as a CycloneDX 1.6 bill of materials: a model card's quantitative analysis."""

import json
import re
import uuid
from pathlib import Path
from typing import Any

from robustkit.records import AuditLog, ThreatRecord
from robustkit.report.text import plain
from robustkit.report.verdict import BOUND, not_tested, ordered, sentence

_SHA256 = re.compile(r"[0-9a-f]{64}")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_NAMESPACE = uuid.UUID("7a0c1f0e-6e0d-5d0f-9d6b-6f2f4f0b9a11")


def render_cyclonedx(log: AuditLog, folder: Path | None = None) -> str:
    """The model with its robustness metrics; the same log gives the same serial number."""
    identity = log.model_dump_json(include={"model", "data", "threats", "seed", "created"})
    bom: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, identity)}",
        "version": 1,
        "metadata": _metadata(log),
        "components": [_model(log), _data(log)],
    }
    return json.dumps(bom, indent=1) + "\n"


def _metadata(log: AuditLog) -> dict[str, Any]:
    tool = {"type": "application", "name": "robustkit", "version": plain(log.version) or "0"}
    when = {"timestamp": log.created} if _INSTANT.fullmatch(log.created) else {}
    return {**when, "tools": {"components": [tool]}}


def _model(log: AuditLog) -> dict[str, Any]:
    metrics = [metric for record in log.threats for metric in _metrics(record, log)]
    return {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": plain(log.model.name) or "model",
        **_hashes(log.model.sha256),
        "modelCard": {
            "modelParameters": {"datasets": [{"ref": "data"}]},
            "quantitativeAnalysis": {"performanceMetrics": metrics},
            "considerations": {"technicalLimitations": _limitations(log)},
        },
    }


def _data(log: AuditLog) -> dict[str, Any]:
    return {
        "type": "data",
        "bom-ref": "data",
        "name": plain(log.data.name) or "data",
        **_hashes(log.data.sha256),
    }


def _hashes(sha256: str) -> dict[str, Any]:
    known = _SHA256.fullmatch(sha256)
    return {"hashes": [{"alg": "SHA-256", "content": sha256}]} if known else {}


def _metrics(record: ThreatRecord, log: AuditLog) -> list[dict[str, Any]]:
    """Clean and robust accuracy as strings; an untrusted number is left out."""
    clean = {
        "type": "accuracy",
        "value": f"{record.clean_accuracy:.6g}",
        "slice": f"n={record.samples}, no attack",
    }
    if not record.trusted:
        return [clean]
    suite = plain(log.plan.get("suite", "")) or "custom"
    low, high = record.interval
    robust = {
        "type": "robust_accuracy",
        "value": f"{record.robust_accuracy:.6g}",
        "slice": f"{plain(record.threat)}, suite={suite}, n={record.samples}, seed={log.seed}",
        "confidenceInterval": {"lowerBound": f"{low:.6g}", "upperBound": f"{high:.6g}"},
    }
    return [clean, robust]


def _limitations(log: AuditLog) -> list[str]:
    untrusted = [sentence(one, log) for one in log.threats if not one.trusted]
    findings = [f"{plain(one.id)}: {plain(one.message)}" for one in ordered(log.findings)]
    missing = [f"Not tested: {one}" for one in not_tested(log)]
    return [*untrusted, BOUND, *findings, *missing]
