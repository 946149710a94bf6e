"""What a file is and holds, and what it would run: found out without running anything."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open

from robustkit.errors import RefusedError, ToolError, UserError
from robustkit.loading.arrays import array_header
from robustkit.loading.checkpoint import digest, metadata, read_restricted
from robustkit.loading.limits import open_zip
from robustkit.loading.onnx_graph import onnx_rows
from robustkit.loading.scan import check_pickles, scan
from robustkit.loading.sniff import PICKLES, Form, refuse_form, sniff
from robustkit.records import Record

_PICKLED: tuple[Form, ...] = (*PICKLES, "torchscript", "torch.export")

Row = tuple[str, str, tuple[int, ...]]


class Inspection(Record):
    """What `inspect_file` found in a file.

    `tensors` are (name, type, shape), `dangers` say in words what the file would run, `notes` why
    it cannot be loaded where it is not `loadable`.
    """

    path: str
    form: str
    bytes: int
    sha256: str
    loadable: bool
    tensors: tuple[Row, ...] = ()
    metadata: dict[str, str] = Field(default_factory=dict)
    dangers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def inspect_file(path: str | Path) -> Inspection:
    """Look into the file at `path`; nothing of it is run, and only names and shapes are read.

    Raises UserError where there is no file. Everything else is told in the result.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError("a file", f"{str(path)!r}, where there is none", "check the path")
    form: Form = "unknown"
    tensors: list[Row] = []
    facts: dict[str, str] = {}
    dangers: list[str] = []
    notes: list[str] = []
    loadable = False
    try:
        form = sniff(path)
        if form in _PICKLED:
            dangers = scan(path, form).dangers
        tensors, facts = _content(path, form)
        loadable = True
    except (RefusedError, ToolError) as error:
        notes.append(f"{error.got}; {error.fix}")
    return Inspection(
        path=str(path),
        form=form,
        bytes=path.stat().st_size,
        sha256=digest(path),
        loadable=loadable,
        tensors=tuple(tensors),
        metadata=facts,
        dangers=tuple(dangers),
        notes=tuple(notes),
    )


def _content(path: Path, form: Form) -> tuple[list[Row], dict[str, str]]:
    """Tensors and metadata of a file that may be loaded; RefusedError for any other."""
    if form == "safetensors":
        return list(_safetensors_rows(path)), metadata(path)
    if form == "onnx":
        return onnx_rows(path), {}
    if form == "npz":
        return list(_array_rows(path)), {}
    if form not in PICKLES:
        raise refuse_form(form, path)
    check_pickles(path, form)
    rows: list[Row] = []
    facts: dict[str, str] = {}
    _flatten(read_restricted(path, device="meta"), "", rows, facts)
    return rows, facts


def _safetensors_rows(path: Path) -> Iterator[Row]:
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - it is a handle, which cannot be iterated
                part = file.get_slice(name)
                yield name, part.get_dtype(), tuple(part.get_shape())
    except SafetensorError as error:
        raise RefusedError(
            "a complete safetensors file", f"{path.name} ({error})", "copy or download it again"
        ) from None


def _array_rows(path: Path) -> Iterator[Row]:
    with open_zip(path) as archive:
        for entry in archive.infolist():
            shape, dtype = array_header(archive, entry, path)
            yield entry.filename.removesuffix(".npy"), str(dtype), shape


def _flatten(value: Any, name: str, rows: list[Row], facts: dict[str, str]) -> None:
    """Collect tensors, with dotted names, and everything else, as short texts."""
    if isinstance(value, torch.Tensor):
        rows.append((name, str(value.dtype).removeprefix("torch."), tuple(value.shape)))
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            _flatten(inner, f"{name}.{key}" if name else str(key), rows, facts)
    else:
        facts[name or "content"] = repr(value)[:200]
