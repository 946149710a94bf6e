"""The command line, run in this process in an empty folder."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from robustkit.cli import cli

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("harden", "zoo:digits-standard", code=1)`: the result, its exit code looked at."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str | Path, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, [str(word) for word in words], prog_name="robustkit")
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result

    return call
