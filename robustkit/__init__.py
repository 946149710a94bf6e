"""robustkit: how easily can an image model be fooled? One harness; CLI, pytest plugin and API.

Names are imported on first use, so that `import robustkit` costs nothing.

>>> import robustkit as rk
>>> rk.ThreatModel.parse("linf:8/255").text
'linf:8/255'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustkit.audit.attacking import Result, attack
    from robustkit.audit.conduct import audit
    from robustkit.audit.engine import Engine
    from robustkit.errors import RefusedError, RobustkitError, ToolError, UserError
    from robustkit.goal import Goal
    from robustkit.loading import Samples, load, open_samples
    from robustkit.model import Classifier
    from robustkit.preprocess import Preprocess
    from robustkit.records import AuditLog
    from robustkit.threat import ThreatModel

__version__ = "0.1.0"

_HOMES = {
    "AuditLog": "robustkit.records",
    "Classifier": "robustkit.model",
    "Engine": "robustkit.audit.engine",
    "Goal": "robustkit.goal",
    "Preprocess": "robustkit.preprocess",
    "RefusedError": "robustkit.errors",
    "Result": "robustkit.audit.attacking",
    "RobustkitError": "robustkit.errors",
    "Samples": "robustkit.loading",
    "ThreatModel": "robustkit.threat",
    "ToolError": "robustkit.errors",
    "UserError": "robustkit.errors",
    "attack": "robustkit.audit.attacking",
    "load": "robustkit.loading",
    "open_samples": "robustkit.loading",
}

__all__ = [
    "AuditLog", "Classifier", "Engine", "Goal", "Preprocess", "RefusedError", "Result",
    "RobustkitError", "Samples", "ThreatModel", "ToolError", "UserError", "attack", "audit", "load",
    "open_samples",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name == "audit":
        return import_module("robustkit.audit")
    if name not in _HOMES:
        raise AttributeError(f"module 'robustkit' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
