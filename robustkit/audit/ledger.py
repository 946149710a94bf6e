"""The ledger: finished units of work, a line each, so that a killed run loses at most one.

A unit is (block of samples, threat, attack). Its line is written after its pictures and flushed to
the disk; a torn last line is what a kill leaves behind and is ignored. A ledger begun with another
model, data set, plan or version is refused with the difference.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from robustkit.atomic import sweep
from robustkit.errors import ToolError, UserError

if TYPE_CHECKING:
    from robustkit.detector import Detector
    from robustkit.model import Classifier

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
            sweep(self._path.parent)
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
        """Write a whole line, or none: what a full disk cut off is taken back."""
        assert self._path is not None
        before = self._path.stat().st_size if self._path.exists() else 0
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self._path, before)
            raise _unwritable(self._path, error) from error

    def _read(self, identity: Mapping[str, Any], *, resume: bool) -> None:
        assert self._path is not None
        if not resume:
            raise UserError(
                "a new run directory", f"{self._path.parent}, which holds a run already",
                "add --resume to go on with it, or choose another --out",
            )  # fmt: skip
        try:
            content = self._path.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]
            if whole != content:
                # Cutting the tail off is one step: no kill can lose the lines before it.
                os.truncate(self._path, len(whole))
        except OSError as error:
            raise _unwritable(self._path, error) from error
        lines = [_parsed(line, at, self._path) for at, line in enumerate(whole.splitlines())]
        if not lines:
            self._append({"identity": identity})
            return
        _same(lines[0]["identity"], json.loads(json.dumps(identity)))
        self._units = {line.pop("unit"): line for line in lines[1:]}


def fingerprint(model: "Classifier | Detector") -> str:
    """The digest of a model's file, or of its weights where it came from none."""
    if model.sha256:
        return model.sha256
    digest = hashlib.sha256(model.source.encode())
    for name, value in model.module.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _parsed(line: bytes, at: int, path: Path) -> dict[str, Any]:
    """One line; a damaged one is no torn tail, and nothing behind it is believed either."""
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    if not isinstance(value, dict) or ("unit" if at else "identity") not in value:
        raise ToolError(
            "a ledger as an audit wrote it", f"a damaged line {at + 1} in {path}",
            "delete that line and those after it and resume, or choose another --out",
        )  # fmt: skip
    return value


def _unwritable(path: Path, error: OSError) -> ToolError:
    return ToolError(
        "a run directory that can be written", f"{error.strerror}: {path.parent}",
        "free some space or choose another --out, then run the same command with --resume",
    )  # fmt: skip


def _same(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuse to go on with another audit's units."""
    differences = list(_differences(old, new, ""))
    if differences:
        raise UserError(
            "the model, data and plan that the run was begun with", "; ".join(differences),
            "run the original command with --resume, or choose another --out",
        )  # fmt: skip


def _differences(old: Any, new: Any, where: str) -> Iterator[str]:
    """Where two nests of values differ, down to the smallest part that does.

    >>> list(_differences({"bouts": [{"attack": "pgd"}]}, {"bouts": [{"attack": "bim"}]}, ""))
    ['bouts.0.attack: was pgd, is bim']
    """
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        old, new = dict(enumerate(old)), dict(enumerate(new))
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            name = f"{where}.{key}" if where else str(key)
            yield from _differences(old.get(key), new.get(key), name)
    elif old != new:
        yield f"{where}: was {old}, is {new}"
