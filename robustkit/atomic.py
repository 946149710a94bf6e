"""Files that are there whole or not at all."""

import contextlib
import os
import tempfile
from pathlib import Path

from robustkit.errors import ToolError

PARTIAL = ".partial"
"""How the names of temporary files end."""


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: a temporary file in the same folder, synced, then renamed.

    A crash leaves the old file or the new one. Raises ToolError where it cannot be written.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL
        )
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # A temporary file is private; a report is for whoever may read the folder.
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        if not isinstance(error, OSError):
            raise
        raise _unwritable(path.parent, error) from error


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically; see `write_bytes`."""
    write_bytes(path, text.encode())


def need_folder(folder: Path) -> None:
    """See, before long work, that files can be written to a folder; it is not made yet.

    Raises ToolError where they cannot.
    """
    place = next(one for one in (folder, *folder.parents) if one.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=place, suffix=PARTIAL):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from error


def sweep(folder: Path) -> None:
    """Remove what writes that were killed left below `folder`."""
    for path in folder.rglob(f".*{PARTIAL}"):
        with contextlib.suppress(OSError):
            path.unlink()


def _unwritable(folder: Path, error: OSError) -> ToolError:
    return ToolError(
        "a folder that can be written",
        f"{error.strerror or error}: {folder}",
        "free some space, or choose another folder",
    )
