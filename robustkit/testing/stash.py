"""Where the plugin keeps its state: keys into pytest's stashes."""

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from robustkit.testing.audits import Audited, Audits  # noqa: F401 - named in a string

AUDITS = pytest.StashKey["Audits"]()
"""Of the config: the audits of this run."""
RECORDS = pytest.StashKey[list[dict[str, Any]]]()
"""The records of gates: of a test its own, of the config all that reports brought."""
AUDITED = pytest.StashKey[list["Audited"]]()
"""Of a test: the audits that it looked at."""
