"""Findings as SARIF 2.1.0, for code scanning.

Only what concerns an artifact or its configuration is a result; samples and scores are not. Every
result points at a file: the checkpoint, or `audit.json` where the model came from none.
"""

import hashlib
import json
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from robustkit.records import AuditLog, Finding, Severity
from robustkit.report.standards import DISCLAIMER, references
from robustkit.report.text import plain
from robustkit.report.threats import title
from robustkit.report.verdict import ordered

ABOUT_THE_RUN = frozenset({"RK-PARTIAL", "RK-QUICK", "RK-EIGHT-BIT", "RK-FEW-CLASSES", "RK-MOVED"})
"""Findings that speak of how the audit was made, not of the model."""
LEVELS: dict[Severity, str] = {
    "high": "error",
    "medium": "warning",
    "low": "note",
    "info": "note",
}
SECURITY: dict[Severity, str] = {"high": "8.0", "medium": "5.5", "low": "2.5", "info": "0.0"}


def render_sarif(log: AuditLog, folder: Path | None = None) -> str:
    """The findings as a SARIF log; `folder` is where `audit.json` lies."""
    findings = [one for one in ordered(log.findings) if one.id not in ABOUT_THE_RUN]
    rules = list({plain(one.id): one for one in findings}.values())
    ids = [plain(one.id) for one in rules]
    where = _location(log, folder)
    run = {
        "tool": {
            "driver": {
                "name": "robustkit",
                "version": plain(log.version) or "0",
                "rules": [_rule(one) for one in rules],
            }
        },
        "invocations": [{"executionSuccessful": log.status == "complete"}],
        "columnKind": "unicodeCodePoints",
        "results": [_result(one, log, ids.index(plain(one.id)), where) for one in findings],
    }
    sarif = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    }
    return json.dumps(sarif, indent=1) + "\n"


def _rule(finding: Finding) -> dict[str, Any]:
    entries = [str(entry) for entry in references(finding)]
    return {
        "id": plain(finding.id),
        "shortDescription": {"text": plain(finding.id)},
        "fullDescription": {"text": _text(finding.message)},
        "help": {"text": f"{_text(finding.fix)} {DISCLAIMER} {'; '.join(entries)}."},
        "defaultConfiguration": {"level": LEVELS[finding.severity]},
        "properties": {
            "tags": ["security", "adversarial-robustness", *entries],
            "security-severity": SECURITY[finding.severity],
        },
    }


def _result(finding: Finding, log: AuditLog, rule: int, where: str) -> dict[str, Any]:
    under = f" (under {title(finding.threat)})" if finding.threat else ""
    identity = f"{finding.id}\x1f{finding.threat}\x1f{log.model.name}\x1f{log.data.sha256}"
    return {
        "ruleId": plain(finding.id),
        "ruleIndex": rule,
        "level": LEVELS[finding.severity],
        "message": {"text": f"{_text(finding.message)}{under} What to do: {_text(finding.fix)}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": where},
                    "region": {"startLine": 1},
                }
            }
        ],
        "partialFingerprints": {
            "robustkitFinding/v1": hashlib.sha256(
                identity.encode("utf-8", "backslashreplace")
            ).hexdigest()
        },
    }


def _location(log: AuditLog, folder: Path | None) -> str:
    """The file that findings point at, as a relative or absolute URI reference."""
    if log.model.sha256 and Path(log.model.source).is_file():
        return _uri(Path(log.model.source))
    return _uri((folder or Path()) / "audit.json")


def _uri(path: PurePath) -> str:
    posix = path.as_posix()
    return f"file://{quote(posix)}" if posix.startswith("/") else quote(posix)


def _text(text: str) -> str:
    return plain(text) or "-"
