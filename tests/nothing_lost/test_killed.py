"""kill -9 at any moment, then the same command with --resume: the record of an unbroken run."""

import contextlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

WORDS = (
    "audit", "zoo:digits-standard", "--threat", "linf:0.1", "--threat", "l2:0.5",
    "--attack", "fgsm", "--attack", "pgd:steps=10", "--attack", "square:queries=60",
    "--samples", "16",
)  # fmt: skip
UNTIMED = {"seconds", "created", "plan"}

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


class Server:
    """Audits as processes; `run` waits for one, or kills it after some seconds."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forks.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def run(self, *words: str, kill_after: float | None = None) -> int:
        """The exit code of a command line; -9 where it was killed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(words).encode() + b"\n")
        self.process.stdin.flush()
        child = self._answer()["pid"]
        if kill_after is not None:
            over, _, _ = select.select([self.process.stdout], [], [], kill_after)
            if not over:
                with contextlib.suppress(ProcessLookupError):  # it ended in this very moment
                    os.kill(child, signal.SIGKILL)
        return int(self._answer()["code"])

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    server.run("--version")
    yield server
    server.close()


def record(folder: Path) -> object:
    """Everything a run wrote that is no clock: the log, every sample, every picture."""

    def untimed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: untimed(part) for key, part in value.items() if key not in UNTIMED}
        return [untimed(part) for part in value] if isinstance(value, list) else value

    log = untimed(json.loads((folder / "audit.json").read_text()))
    pictures = {path.name: path.read_bytes() for path in sorted(folder.glob("examples/*"))}
    assert pictures
    return log, (folder / "samples.jsonl").read_bytes(), pictures


@pytest.fixture(scope="module")
def unbroken(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, float]:
    """The record of a run that nobody killed, and how long it took."""
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    started = time.monotonic()
    assert server.run(*WORDS, "--out", str(folder)) == 0
    return record(folder), time.monotonic() - started


def killed_and_resumed(server: Server, folder: Path, moments: list[float]) -> int:
    """How often it was killed: at each moment once, resumed every time, at last to the end."""
    words = (*WORDS, "--out", str(folder), "--resume")
    ledger, kept, kills = folder / "ledger.jsonl", b"", 0
    for moment in moments:
        kills += server.run(*words, kill_after=moment) == -signal.SIGKILL
        units = ledger.read_bytes() if ledger.exists() else b""
        assert units.startswith(kept), "a finished unit was lost"
        kept = units[: units.rfind(b"\n") + 1]
    assert server.run(*words) == 0
    assert ledger.read_bytes().startswith(kept)
    assert not list(folder.rglob(".*")), "the kill left something behind"
    return kills


def test_four_kills_in_a_row_change_nothing(server: Server, unbroken, tmp_path: Path) -> None:
    expected, seconds = unbroken
    drawn = random.Random(0)
    moments = [drawn.uniform(0.1, 0.5) * seconds for _ in range(4)]
    assert killed_and_resumed(server, tmp_path / "run", moments) >= 1
    assert record(tmp_path / "run") == expected


@pytest.mark.slow
def test_fifty_kills_at_random_moments_change_nothing(
    server: Server, unbroken, tmp_path: Path
) -> None:
    expected, seconds = unbroken
    drawn = random.Random(1)
    kills, number = 0, 0
    while kills < 50:
        number += 1
        moment = drawn.uniform(0, 1) * seconds
        kills += killed_and_resumed(server, tmp_path / str(number), [moment])
        assert record(tmp_path / str(number)) == expected, f"killed after {moment:.3f} s"
