"""What is built holds the whole tree, and works without it."""

import json
import os
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

IMPORT_ALL = """
import importlib, json, sys
places = {name: importlib.import_module(name).__file__ for name in json.load(sys.stdin)}
json.dump(places, sys.stdout)
"""


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


def test_wheel_holds_every_file_of_the_packages(wheel: zipfile.ZipFile, shipped: set[str]) -> None:
    files = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert files == shipped


def test_every_module_imports_from_the_wheel_alone(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    paths = [Path(name) for name in wheel.namelist() if name.endswith(".py")]
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths]
    names = [name for name in names if not name.endswith("__main__")]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_ALL],
        input=json.dumps(names),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    places = json.loads(done.stdout)
    assert places.keys() == set(names)
    assert {place for place in places.values() if not Path(place).is_relative_to(tmp_path)} == set()


def test_wheel_says_what_it_is(wheel: zipfile.ZipFile, pyproject: dict[str, Any]) -> None:
    (path,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    said = message_from_bytes(wheel.read(path))
    assert said["Name"] == "robustkit-audit"
    assert said["License-Expression"] == "Apache-2.0"
    assert said["Requires-Python"] == ">=3.11"
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())
    assert set(said.get_all("Provides-Extra", [])) == set(
        pyproject["project"]["optional-dependencies"]
    )
