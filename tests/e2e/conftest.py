"""The command line, run in this process in an empty folder."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from robustkit.cli import cli

Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROBUSTKIT_DEBUG", raising=False)
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Run:
    """`run("list", "attacks", code=0)`: the result, after its exit code was looked at."""

    def call(*words: str | Path, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, [str(word) for word in words], prog_name="robustkit")
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result

    return call
