"""How much a file may ask for before anything of it is read, and what a zip may look like."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from robustkit.errors import RefusedError

GIB = 2**30

MAX_ARRAYS = 64 * GIB
"""The most bytes that a compressed data set may unpack to."""

MAX_ENTRIES = 200_000
"""The most entries a zip may list; a checkpoint has one per tensor."""

MAX_HEADER = 100_000_000
"""The most bytes of a safetensors header, the same as in the format's own reader."""

MAX_PICKLE = 64 * 2**20
"""The most bytes of pickle that are walked; tensors lie beside it, not in it."""


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip whose names stay inside it and occur once; RefusedError for any other."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_names(archive.infolist(), path)
            yield archive
    except (
        zipfile.BadZipFile,
        OSError,
        EOFError,
        NotImplementedError,
        ValueError,
        zlib.error,
    ) as error:
        raise RefusedError(
            "a complete zip archive",
            f"{path.name}, which ends early or is damaged ({error})",
            "copy or download the file again, and compare its size",
        ) from None


def _check_names(entries: list[zipfile.ZipInfo], path: Path) -> None:
    if len(entries) > MAX_ENTRIES:
        raise RefusedError(
            f"at most {MAX_ENTRIES:,} entries in a zip",
            f"{len(entries):,} in {path.name}",
            "re-save the weights as safetensors",
        )
    seen: set[str] = set()
    for entry in entries:
        name = PurePosixPath(entry.filename)
        if name.is_absolute() or ".." in name.parts or set(entry.filename) & {"\\", "\0", ":"}:
            raise RefusedError(
                "entry names that stay inside the archive",
                f"{entry.filename!r} in {path.name}",
                "do not use this file: ordinary tools never write such names",
            )
        if entry.flag_bits & 1:
            raise RefusedError(
                "a zip that is not encrypted",
                f"{entry.filename!r} in {path.name} behind a password",
                "unpack it and give the file inside",
            )
        if entry.filename in seen:
            raise RefusedError(
                "each entry once in a zip",
                f"{entry.filename!r} twice in {path.name}",
                "do not use this file: two readers could see two different models in it",
            )
        seen.add(entry.filename)


def check_stored(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse compressed entries, and entries that together are larger than their file.

    PyTorch stores tensors uncompressed, so that only a bomb or a repacked file is caught.
    """
    entries = archive.infolist()
    packed = [entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise RefusedError(
            "uncompressed entries, as torch.save writes them",
            f"{packed[0].filename!r} in {path.name}, packed from {packed[0].file_size:,} bytes "
            f"to {packed[0].compress_size:,}",
            "unpack the checkpoint and save it again with torch.save or as safetensors",
        )
    total = sum(entry.file_size for entry in entries)
    if total > path.stat().st_size:
        raise RefusedError(
            f"at most {path.stat().st_size:,} bytes of content, the size of {path.name}",
            f"{total:,} bytes: entries that overlap",
            "do not use this file: ordinary tools never write such archives",
        )
