"""Every script says how it is used, and does nothing else when asked."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(
    path
    for path in (ROOT / "scripts").rglob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
)


def name(path: Path) -> str:
    return path.relative_to(ROOT / "scripts").as_posix()


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_each_says_its_usage_with_every_flag_it_has(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    said = ast.get_docstring(ast.parse(text)) or ""
    usage = said.partition("\nUsage: ")[2].partition("\n\n")[0]
    assert path.name in usage
    flags = [
        node.args[0].value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "add_argument"
        and isinstance(node.args[0], ast.Constant)
    ]
    assert [flag for flag in flags if str(flag)[:2] == "--" and str(flag) not in said] == []


@pytest.mark.slow
@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_asked_for_help_each_gives_it_and_touches_nothing(path: Path, tmp_path: Path) -> None:
    before = {one: one.stat().st_mtime_ns for one in written()}
    done = subprocess.run(
        [sys.executable, str(path), "--help"], cwd=tmp_path, capture_output=True, text=True,
        timeout=120, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {path.name}")
    assert {one: one.stat().st_mtime_ns for one in written()} == before
    assert list(tmp_path.iterdir()) == []


def written() -> list[Path]:
    """What scripts write when they are not asked for help."""
    places = (ROOT / "reports", ROOT / "robustkit" / "zoo", ROOT / "scripts" / "examples" / "ci")
    found = [one for place in places for one in place.iterdir() if one.is_file()]
    return [ROOT / "constraints.txt", *found]


def test_what_only_shells_read_says_its_usage_as_well() -> None:
    peers = subprocess.run(
        [ROOT / "scripts" / "peers", "--help"], capture_output=True, text=True, check=True
    )
    assert "Usage: scripts/peers" in peers.stdout
