"""A disk that fills up at any write ends the audit with 3; nothing half-written is left behind."""

import errno
import json
import os
from pathlib import Path

import pytest

from robustkit.audit import pictures
from robustkit.audit.ledger import Ledger
from robustkit.errors import ToolError
from tests.nothing_lost.conftest import Run, verdicts


class Disk:
    """The calls that make a write last, counted; the one numbered `full_at` finds no space."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, full_at: int = 0) -> None:
        self.calls, self.full_at = 0, full_at
        for name in ("fsync", "replace", "rename"):
            monkeypatch.setattr(os, name, self._filling(getattr(os, name)))

    def _filling(self, real):
        def call(*given, **rest):
            self.calls += 1
            if self.calls == self.full_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*given, **rest)

        return call


def check_whole(folder: Path) -> None:
    """Every file that is there can be read to its end."""
    assert not list(folder.rglob(".*")), "no temporary file stays"
    for path in (folder / "ledger.jsonl", folder / "samples.jsonl"):
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        assert all(line.endswith("\n") and json.loads(line) for line in lines)
    if (folder / "audit.json").exists():
        assert json.loads((folder / "audit.json").read_text())["status"] == "complete"


@pytest.mark.parametrize("apart", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_every_write_may_fail_and_the_audit_goes_on_after_it(
    audit: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apart: int
) -> None:
    monkeypatch.setattr(pictures, "SHOWN", 1)
    with monkeypatch.context() as patch:
        disk = Disk(patch)
        audit("--out", "unbroken")
    expected = verdicts(tmp_path / "unbroken")
    assert disk.calls >= 15
    for full_at in range(apart // 2 + 1, disk.calls + 1, apart):
        name = str(full_at)
        with monkeypatch.context() as patch:
            Disk(patch, full_at)
            said = audit("--out", name, code=3).stderr
        assert "No space left on device" in said, f"write {full_at}"
        assert "fix: free some space" in said
        check_whole(tmp_path / name)
        audit("--out", name, "--resume")
        assert verdicts(tmp_path / name) == expected


def test_a_line_that_does_not_fit_is_taken_back(tmp_path: Path, monkeypatch) -> None:
    ledger = Ledger(tmp_path, {"seed": 0}, resume=False)
    ledger.put("whole", {"rows": [1]})
    before = (tmp_path / "ledger.jsonl").read_bytes()
    with monkeypatch.context() as patch:
        Disk(patch, full_at=1)
        with pytest.raises(ToolError, match="No space left"):
            ledger.put("torn", {"rows": [2]})
    assert (tmp_path / "ledger.jsonl").read_bytes() == before


@pytest.mark.parametrize("damage", [b"{]\n", b"[]\n", b"\xff\xfe\n", b'{"rows": []}\n'])
def test_a_damaged_ledger_is_told_and_not_believed(tmp_path: Path, damage: bytes) -> None:
    ledger = Ledger(tmp_path, {"seed": 0}, resume=False)
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(path.read_bytes() + damage)
    ledger.put("after", {"rows": [1]})
    with pytest.raises(ToolError, match="damaged line 2"):
        Ledger(tmp_path, {"seed": 0}, resume=True)


def test_a_read_only_folder_is_no_warning(audit: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "fix: free some space" in audit("--out", "file/run", code=3).stderr
