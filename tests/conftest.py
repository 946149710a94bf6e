"""Fixtures for every test: the reference models and their data, where they are present."""

import os
import sys
from pathlib import Path

import pytest

REFERENCE = Path(__file__).parents[1] / "../shared/reference"


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of reference models and data; its `nets.py` imports as `nets`.

    Away from it the test is skipped, except on CI, where a skip would hide that nothing was tested.
    """
    if not (REFERENCE / "nets.py").is_file():
        reason = f"no reference models at {REFERENCE}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    folder = REFERENCE.resolve()
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    return folder
