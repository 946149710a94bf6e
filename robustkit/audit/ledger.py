"""The ledger: finished units of work, a line each, so that a killed run loses at most one.

A unit is (block of samples, threat, attack). Its line is written after its pictures and flushed to
the disk; a torn last line is what a kill leaves behind and is ignored. A ledger begun with another
model, data set, plan or version is refused with the difference.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustkit.errors import ToolError, UserError

FILE = "ledger.jsonl"


class Ledger:
    """Units by key, in a run directory or (without a folder) in memory only."""

    def __init__(self, folder: Path | None, identity: Mapping[str, Any], *, resume: bool) -> None:
        """Open or begin the ledger.

        Raises UserError if the folder holds a run that is not to be, or cannot be, resumed.
        """
        self._units: dict[str, dict[str, Any]] = {}
        self._path = folder / FILE if folder else None
        if self._path is None:
            return
        if self._path.exists():
            self._read(identity, resume=resume)
        else:
            self._append({"identity": identity})

    def get(self, key: str) -> dict[str, Any] | None:
        """The columns of a finished unit."""
        return self._units.get(key)

    def units(self) -> list[str]:
        """The keys of the finished units, in order."""
        return list(self._units)

    def put(self, key: str, columns: dict[str, Any]) -> None:
        """Note a finished unit; on the disk when this returns."""
        self._units[key] = columns
        if self._path:
            self._append({"unit": key, **columns})

    def _append(self, line: Mapping[str, Any]) -> None:
        assert self._path is not None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ToolError(
                "a run directory that can be written", f"{error.strerror}: {self._path.parent}",
                "free some space or choose another --out, then run the same command with --resume",
            ) from error  # fmt: skip

    def _read(self, identity: Mapping[str, Any], *, resume: bool) -> None:
        assert self._path is not None
        if not resume:
            raise UserError(
                "a new run directory", f"{self._path.parent}, which holds a run already",
                "add --resume to go on with it, or choose another --out",
            )  # fmt: skip
        text = self._path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self._path.write_text(whole, encoding="utf-8")
        lines = [json.loads(line) for line in whole.splitlines()]
        if not lines:
            self._append({"identity": identity})
            return
        _same(lines[0]["identity"], json.loads(json.dumps(identity)))
        self._units = {line.pop("unit"): line for line in lines[1:]}


def _same(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuse to go on with another audit's units."""
    changed = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    if changed:
        differences = "; ".join(f"{key}: was {old.get(key)}, is {new.get(key)}" for key in changed)
        raise UserError(
            "the model, data and plan that the run was begun with", differences,
            "run the original command with --resume, or choose another --out",
        )  # fmt: skip
