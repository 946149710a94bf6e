"""The harness: plan, engine, referee, suspicion, statistics.

The package can be called: `robustkit.audit(model, data, threat)` is `conduct.audit`, since the
package and the verb share their name.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustkit.records import AuditLog


class _Callable(ModuleType):
    """A module that can be called."""

    def __call__(self, *args: Any, **settings: Any) -> "AuditLog":
        """See `robustkit.audit.conduct.audit`."""
        from robustkit.audit.conduct import audit

        return audit(*args, **settings)


sys.modules[__name__].__class__ = _Callable
