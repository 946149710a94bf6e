"""Weights that an ONNX file keeps in other files: refused, or read from its own folder only.

Such a file names paths, and a library that follows them reads whatever it is pointed to. Here a
name must be that of an ordinary file in the folder of the ONNX file, links are not followed, and
what is read must be as long as the tensor that it is for.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from robustkit.errors import RefusedError

FLAG = "--allow-onnx-external"
_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
"""Bytes of an element, by the number of its type in the format."""


def all_tensors(graph: Any) -> Iterator[Any]:
    """Every tensor of a graph or function: initializers and what nodes hold, however deep."""
    yield from getattr(graph, "initializer", ())
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from all_tensors(inner)


def take_in(model: Any, path: Path, *, allowed: bool, limit: int) -> tuple[Path, ...]:
    """Put what lies outside into `model` itself; the files that it came from, each once.

    Raises RefusedError where there is such data and it was not allowed, where a name is not that
    of a file beside `path`, and where the data are not as long as they have to be or, together,
    longer than `limit` bytes.
    """
    graphs = (model.graph, *model.functions)
    outside = [one for graph in graphs for one in all_tensors(graph) if one.external_data]
    if outside and not allowed:
        names = ", ".join(one.name or "a constant" for one in outside[:3])
        raise RefusedError(
            "an ONNX file that holds its weights itself",
            f"{path.name}, which points to files outside for {names}",
            "save it again with its weights inside: onnx.save_model(onnx.load_model(path), new); "
            f"or let files beside it be read, this once: {FLAG}",
        )
    used: dict[Path, None] = {}
    for one in outside:
        where = {entry.key: entry.value for entry in one.external_data}
        beside = _beside(path, where.get("location", ""))
        limit -= _length(one, path)
        if limit < 0:
            raise RefusedError("at most 2 GiB of weights", path.name, "convert it to PyTorch")
        one.raw_data = _read(beside, where, _length(one, path))
        one.ClearField("external_data")
        one.ClearField("data_location")
        used[beside] = None
    return tuple(used)


def _beside(path: Path, location: str) -> Path:
    """The file of that name in the folder of `path`."""
    name = PurePosixPath(location)
    if len(name.parts) != 1 or name.parts[0] in ("..", "/") or set(location) & {"\\", "\0", ":"}:
        raise RefusedError(
            f"names of files beside {path.name}", f"{location[:200]!r}", "save the model anew"
        )
    return path.parent / name


def _length(tensor: Any, path: Path) -> int:
    count = _BYTES.get(tensor.data_type, 0)
    for size in tensor.dims:
        count *= max(size, 0)
    if not count:
        raise RefusedError(
            "weights of an ordinary type and size outside the file",
            f"type {tensor.data_type}, {list(tensor.dims)} in {path.name}",
            "save the model anew, with its weights inside",
        )
    return count


def _read(path: Path, where: dict[str, str], length: int) -> bytes:
    """`length` bytes of an ordinary file, from the offset that is written in `where`."""
    try:
        offset, said = int(where.get("offset") or 0), int(where.get("length") or length)
        content = b""
        if path.is_file() and not path.is_symlink() and offset >= 0:
            with path.open("rb") as file:
                file.seek(offset)
                content = file.read(length)
    except (OSError, ValueError) as error:
        raise RefusedError(
            f"a file {path.name} beside the model that can be read", str(error), "copy it there"
        ) from None
    if said != length or len(content) != length:
        raise RefusedError(
            f"{length:,} bytes at {offset:,} in {path.name}, an ordinary file beside the model",
            f"{len(content):,}, where {said:,} are announced",
            "copy or export the model again, with all its files",
        )
    return content
