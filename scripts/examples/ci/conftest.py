"""Says in every record, and so in JUnit, which commit was audited."""

import os
from typing import Any


def pytest_robustkit_update_record(record: dict[str, Any]) -> None:
    """Add the commit, where the CI server says which it is."""
    record["commit"] = os.environ.get("GITHUB_SHA") or os.environ.get("CI_COMMIT_SHA") or "local"
