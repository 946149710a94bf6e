"""What the pytest plugin is made of: settings, cached audits, assertions, and their faces.

Imported when a test asks for an audit, never when pytest starts. `RobustAudit` is what the fixture
`robust_audit` gives; import it to annotate tests, and `UndecidedWarning` to filter it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustkit.testing.assertions import RobustAudit, UndecidedWarning

_HOMES = {
    "RobustAudit": "robustkit.testing.assertions",
    "UndecidedWarning": "robustkit.testing.assertions",
}

__all__ = ["RobustAudit", "UndecidedWarning"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'robustkit.testing' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
