"""The files of a robustness test in somebody's repository: test, settings, and two CI servers.

The settings lie in `conftest.py`, not in an ini file: it always takes effect, whatever
configuration of pytest is there already, and flags and ini values still win.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path("tests") / "robustness"
BASELINE = FOLDER / "baselines" / "baseline.json"

CONFTEST = '''\
"""What the robustness tests audit; flags, markers and the ini file win over what is said here."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def pytest_robustkit_settings():
    """Settings as the marker `robust` takes them; see `pytest --help`, robustkit."""
    return {{
{settings}
    }}
'''

TEST = '''\
"""What must hold before the model ships.

After a change that is meant: pytest {folder} --robust-update-baselines --robust-accept
"""

import pytest


@pytest.mark.robust(threat="{threat}")
def test_robustness(robust_audit):
    """Hard enough to fool, no worse than before, and a number that can be trusted."""
    robust_audit.assert_robust(at_least={at_least})
    robust_audit.assert_no_regression("baselines/baseline.json", max_drop=0.01)
{per_class}    robust_audit.assert_trusted()
'''

GITHUB = """\
# Written by `robustkit init`. The gates' verdicts appear in the summary of each run.
name: robustness
on:
  push:
    branches: [main]
  pull_request:
permissions:
  contents: read
jobs:
  robustness:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
          cache: pip
      - run: {install}
      # An audit whose model, data and settings did not change is read back, not run again.
      - uses: actions/cache@v4
        with:
          path: robustkit-runs
          key: robustkit-${{{{ github.sha }}}}
          restore-keys: robustkit-
      - run: {command}
      - uses: actions/upload-artifact@v4
        if: failure()
        with:
          name: robustkit-runs
          path: robustkit-runs
"""

GITLAB = """\
# Written by `robustkit init`. The gates' verdicts appear among the tests of each pipeline.
robustness:
  image: python:3.12
  script:
    - {install}
    - {command}
  cache:
    key: robustkit
    paths: [robustkit-runs]
  artifacts:
    when: always
    paths: [robustkit-runs]
    reports:
      junit: robustness.xml
"""

INCLUDE = """\
include:
  - local: .gitlab/robustness.yml
"""

COMMAND = f"python -m pytest {FOLDER.as_posix()} --robust-out robustkit-runs"


def files(
    root: Path, settings: Mapping[str, Any], *, threat: str, at_least: float, per_class: float
) -> dict[Path, str]:
    """Path below `root` -> content; nothing is written.

    `settings` name the model and data; `per_class` 0 leaves that assertion out.
    """
    lines = "\n".join(
        f"        {name!r}: {_code(value, root)}," for name, value in settings.items()
    )
    asked = f"    robust_audit.assert_per_class(at_least={per_class:g})\n" if per_class else ""
    install = _install(root)
    return {
        FOLDER / "conftest.py": CONFTEST.format(settings=lines),
        FOLDER / "test_robustness.py": TEST.format(
            threat=threat, at_least=f"{at_least:g}", per_class=asked, folder=FOLDER.as_posix()
        ),
        Path(".github/workflows/robustness.yml"): GITHUB.format(install=install, command=COMMAND),
        Path(".gitlab/robustness.yml"): GITLAB.format(
            install=install, command=f"{COMMAND} --junitxml robustness.xml"
        ),
        Path(".gitlab-ci.yml"): INCLUDE,
    }


def _code(value: Any, root: Path) -> str:
    """A setting as Python; a file below `root` is named from there, wherever pytest is started."""
    text, colon, factory = str(value).partition(".py:") if ".py:" in str(value) else (value, "", "")
    name = f"{text}.py" if colon else text
    path = Path(name).resolve() if isinstance(name, str) else root
    if not isinstance(name, str) or not path.exists():
        return repr(value)
    if not path.is_relative_to(root.resolve()):
        return repr(f"{path}{':' if colon else ''}{factory}")
    here = f"ROOT / {path.relative_to(root.resolve()).as_posix()!r}"
    return f'f"{{{here}}}:{factory}"' if colon else here


def _install(root: Path) -> str:
    """How CI installs the repository's own requirements, and robustkit beside them."""
    own = ""
    if (root / "requirements.txt").is_file():
        own = "-r requirements.txt "
    elif (root / "pyproject.toml").is_file() or (root / "setup.py").is_file():
        own = "-e . "
    return f"python -m pip install {own}pytest robustkit-audit"
