"""A run on the disk: whole or not at all, and read without running what is in it."""

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import torch

from robustkit.atomic import sweep, write_bytes
from robustkit.errors import RefusedError, UserError

NAME = "training.pt"


def claim(folder: Path, *, resume: bool) -> bool:
    """Whether there is a run in `folder` to go on with; an existing one is never overwritten.

    Raises UserError for a run that is in the way, and for one that is missing.
    """
    there = (folder / NAME).exists()
    if there and not resume:
        raise UserError(
            "a folder without a run", f"{folder}, which has one", "choose another, or --resume"
        )
    if folder.exists():
        sweep(folder)
    return there


def write(folder: Path, content: dict[str, Any]) -> None:
    """Write a run's tensors and plain values atomically."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(folder / NAME, buffer.getvalue())


def digest(content: bytes) -> str:
    """The sha256 of weights as a file holds them.

    >>> digest(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(content).hexdigest()


def read(folder: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """Read a run, with weights_only; `identity` is what it must share with the one that goes on.

    Raises RefusedError for a file that is none of ours, UserError for another run's.
    """
    try:
        content = torch.load(folder / NAME, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise RefusedError(
            f"a checkpoint of this version in {folder}",
            str(error).splitlines()[0],
            "start again in another folder",
        ) from None
    known = content.get("identity", {}) if isinstance(content, dict) else {}
    other = sorted(key for key in identity if known.get(key) != identity[key])
    if other:
        raise UserError(
            "the flags and files that the run began with",
            f"other {', '.join(other)}",
            "give the same ones, or choose another folder",
        )
    found: dict[str, Any] = content
    return found
