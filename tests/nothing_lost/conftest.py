"""The command line in this process, and what an audit leaves that is no clock."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from robustkit.cli import cli

Run = Callable[..., Result]

WORDS = ("audit", "zoo:digits-standard", "--threat", "linf:0.1", "--samples", "16",
         "--attack", "fgsm", "--attack", "pgd:steps=5")  # fmt: skip


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`audit("--out", "run", code=0)`: a short audit in an empty folder, its exit code checked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROBUSTKIT_DEBUG", raising=False)

    def call(*words: str, code: int = 0, begin: tuple[str, ...] = WORDS) -> Result:
        result = CliRunner().invoke(cli, [*begin, *words], prog_name="robustkit")
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result

    return call


def verdicts(folder: Path) -> list[tuple[Any, ...]]:
    """Outcome, attack and size of every sample of a run."""
    rows = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    return [(row["id"], row["outcome"], row["attack"], round(row["size"], 5)) for row in rows]
