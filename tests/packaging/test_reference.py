"""Without the reference models a test is skipped, and on CI it fails."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TEST = "def test_it(reference):\n    import nets\n    assert (reference / 'nets.py').is_file()\n"


@pytest.mark.parametrize(
    ("ci", "present", "said"),
    [("", False, "1 skipped"), ("true", False, "1 error"), ("true", True, "1 passed")],
)
def test_reference(root: Path, tmp_path: Path, ci: str, present: bool, said: str) -> None:
    tests = tmp_path / "checkout" / "tests"
    tests.mkdir(parents=True)
    shutil.copy(root / "tests" / "conftest.py", tests)
    (tests / "test_it.py").write_text(TEST)
    if present:
        (tmp_path / "shared" / "reference").mkdir(parents=True)
        (tmp_path / "shared" / "reference" / "nets.py").touch()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(tests)],
        env={**os.environ, "CI": ci, "PYTEST_ADDOPTS": "-p no:cacheprovider"},
        cwd=tests,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said in done.stdout
