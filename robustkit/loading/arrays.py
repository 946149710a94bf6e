"""Data sets in `.npz` files and in memory."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy

from robustkit.errors import RefusedError
from robustkit.loading.limits import MAX_ARRAYS, open_zip
from robustkit.loading.samples import Samples

FORMAT = "an .npz with x (pictures) and y (labels)"
HOW = "numpy.savez(path, x=pictures, y=labels)"


def of_pair(x: Any, y: Any, *, classes: Sequence[str] = (), name: str = "samples") -> Samples:
    """Samples from two tensors, arrays or nested lists; pictures in any layout of `to_nchw`."""
    try:
        pictures, labels = torch.as_tensor(x), torch.as_tensor(y)
    except (TypeError, ValueError, RuntimeError) as error:
        raise RefusedError(
            "numbers as pictures and labels", f"{error} in {name}", f"save them with {HOW}"
        ) from None
    return Samples.of(to_nchw(pictures), labels, classes=classes, name=name)


def to_nchw(x: torch.Tensor) -> torch.Tensor:
    """Pictures `[N,H,W]`, `[N,H,W,C]` or `[N,C,H,W]` as `[N,C,H,W]`; other ranks as they are.

    The last dimension is taken for the channels where it is 1, 3 or 4 and smaller than the second.

    >>> tuple(to_nchw(torch.zeros(2, 5, 7, 3)).shape), tuple(to_nchw(torch.zeros(2, 5, 7)).shape)
    ((2, 3, 5, 7), (2, 1, 5, 7))
    """
    if x.ndim == 3:
        return x.unsqueeze(1)
    if x.ndim == 4 and x.shape[3] in (1, 3, 4) and x.shape[3] < x.shape[1]:
        return x.permute(0, 3, 1, 2)
    return x


def read_npz(path: Path, *, samples: int | None = None) -> Samples:
    """The first `samples` of an `.npz`: `x`, `y` and, if there, `classes`.

    Raises RefusedError where arrays are missing, pickled, broken or not pictures and labels.
    """
    with open_zip(path) as archive:
        _check_members(archive, path)
        present = {Path(name).stem for name in archive.namelist() if name.endswith(".npy")}
    if not {"x", "y"} <= present:
        raise RefusedError(
            FORMAT, f"{path.name} with {', '.join(sorted(present)) or 'no arrays'}", f"use {HOW}"
        )
    try:
        with np.load(path, allow_pickle=False) as arrays:
            x, y = arrays["x"], arrays["y"]
            classes = arrays["classes"].tolist() if "classes" in present else []
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, MemoryError) as error:
        raise RefusedError(
            FORMAT, f"{path.name}, which cannot be read ({error})", f"write it again: {HOW}"
        ) from None
    names = [str(name) for name in classes] if isinstance(classes, list) else []
    native = x.astype(x.dtype.newbyteorder("="), copy=False)
    labels = y.astype(y.dtype.newbyteorder("="), copy=False)
    return of_pair(native[:samples], labels[:samples], classes=names, name=path.name)


def _check_members(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse pickled arrays and headers that ask for more memory than the member holds."""
    total = sum(entry.file_size for entry in archive.infolist())
    if total > MAX_ARRAYS:
        raise RefusedError(
            f"at most {MAX_ARRAYS:,} bytes of arrays",
            f"{total:,} bytes in {path.name}",
            "split the data set",
        )
    for entry in archive.infolist():
        if not entry.filename.endswith(".npy"):
            continue
        shape, dtype = array_header(archive, entry, path)
        if dtype.hasobject:
            raise RefusedError(
                "arrays of numbers",
                f"{entry.filename} in {path.name}, an array of pickled objects, which would run "
                "code when read",
                f"save pictures of one size as one array: {HOW}",
            )
        wanted = dtype.itemsize * int(np.prod(shape, dtype=object))
        if wanted > entry.file_size:
            raise RefusedError(
                f"{wanted:,} bytes of data in {entry.filename}, as its header says",
                f"{entry.file_size:,} in {path.name}",
                "copy or write the file again",
            )


def array_header(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path
) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of one array in an `.npz`, without reading its data."""
    try:
        with archive.open(entry) as file:
            read = npy.read_array_header_1_0
            if npy.read_magic(file) != (1, 0):
                read = npy.read_array_header_2_0
            shape, _, dtype = read(file)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise RefusedError(
            FORMAT, f"{entry.filename} in {path.name} with a broken header ({error})", f"use {HOW}"
        ) from None
    return shape, dtype
