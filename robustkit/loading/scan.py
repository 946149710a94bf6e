"""What the pickles in a file would run: found by walking them, allowed by name, denied by default.

The walk is for the refusal and its words. Safety does not rest on it: whatever passes still goes
through PyTorch's restricted loader.
"""

import io
import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path

from robustkit.errors import RefusedError
from robustkit.loading.limits import MAX_PICKLE, check_stored, open_zip
from robustkit.loading.pickle_machine import Imported, Walk, show, walk
from robustkit.loading.sniff import Form

ALLOWED = frozenset(
    {
        "_codecs.encode",
        "argparse.Namespace",
        "builtins.bytearray",
        "builtins.complex",
        "builtins.set",
        "collections.Counter",
        "collections.OrderedDict",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.dtype",
        "torch.Size",
        "torch.Tensor",
        "torch.device",
        "torch.nn.parameter.Parameter",
        "torch.serialization._get_layout",
        "torch.storage.TypedStorage",
        "torch.storage.UntypedStorage",
        "torch._tensor._rebuild_from_type_v2",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch._utils._rebuild_qtensor",
        "torch._utils._rebuild_sparse_tensor",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_tensor_v3",
    }
)
"""What checkpoints import to rebuild tensors and to keep the settings of a training run."""

_TYPES = re.compile(
    r"torch\.((cuda\.)?[A-Z][a-z0-9]+[A-Za-z0-9]*Storage"
    r"|b?float\d+(_[a-z0-9]+)?|complex\d+|u?int\d+|q(u?)int\d+(x\d)?|bool|per_(tensor|channel)_\w+)"
)

_LEGACY_PICKLES = 5
"""Magic number, protocol, machine, the object itself and the keys of its storages."""


@dataclass
class Scan:
    """The `dangers` of a file in words, the first `trouble` of walking it, its pickle protocol."""

    dangers: list[str] = field(default_factory=list)
    trouble: str = ""
    protocol: int = 0
    whole_model: bool = False


def scan(path: Path, form: Form, *, trusted: AbstractSet[str] = frozenset()) -> Scan:
    """Walk every pickle in the file at `path`, of this `form`, running nothing."""
    result = Scan()
    for where, found in _walks(path, form):
        result.dangers = list(dict.fromkeys(result.dangers + dangers(found, trusted)))
        result.trouble = result.trouble or (found.trouble and f"{where}: {found.trouble}")
        result.protocol = max(result.protocol, found.protocol)
        result.whole_model |= any(
            one.module.startswith("torch.nn.modules") for one in found.imports
        )
    return result


def check_pickles(path: Path, form: Form, *, trusted: AbstractSet[str] = frozenset()) -> None:
    """Refuse a checkpoint whose pickles would call or import anything not `ALLOWED`.

    `trusted` are further names that a person vouches for, such as `mypkg.nets.Net`.
    """
    result = scan(path, form, trusted=trusted)
    if result.dangers:
        shown = "; ".join(result.dangers[:8])
        more = len(result.dangers) - 8
        kind = "the pickle of a whole model" if result.whole_model else "a pickle"
        raise RefusedError(
            "a file with nothing but weights",
            f"{path.name}, {kind}, which would have run: {shown}"
            + (f"; and {more} more" if more > 0 else ""),
            "nothing was run. If you trust where it comes from, load it there and save the weights "
            "alone: torch.save(model.state_dict(), path), or safetensors; for classes of your own, "
            "--trust-class pkg.mod:Class lets objects of them be made",
        )
    if result.trouble:
        raise RefusedError(
            "a complete pickle",
            f"{path.name}, which breaks off or is damaged ({result.trouble})",
            "copy or download it again, and compare its size",
        )
    if form == "pickle":
        raise RefusedError(
            "a checkpoint that torch.save wrote",
            f"{path.name}, a bare pickle (protocol {result.protocol}), which only Python's own "
            "unrestricted loader reads",
            "save it again: torch.save(state_dict, path), or safetensors",
        )
    if result.protocol > 2:
        raise RefusedError(
            "pickle protocol 2, the one that torch.save uses and its restricted loader reads",
            f"protocol {result.protocol} in {path.name}",
            "save it again without pickle_protocol, or as safetensors",
        )


def dangers(found: Walk, trusted: AbstractSet[str] = frozenset()) -> list[str]:
    """What of a walk is not allowed: calls as Python would write them, and imports by themselves.

    >>> import pickle
    >>> dangers(walk(io.BytesIO(pickle.dumps(print))))
    ['import of builtins.print']
    """
    listed: dict[str, None] = {}
    called: set[Imported] = set()
    for call in found.calls:
        if not (isinstance(call.function, Imported) and allowed(call.function, trusted)):
            listed[str(call)] = None
            called |= {call.function} if isinstance(call.function, Imported) else set()
    for imported in found.imports:
        if imported not in called and not allowed(imported, trusted):
            listed[f"import of {show(imported)}"] = None
    return list(listed)


def allowed(imported: Imported, trusted: AbstractSet[str] = frozenset()) -> bool:
    """True for what rebuilds tensors, and for the names in `trusted`; for nothing else."""
    module = "builtins" if imported.module == "__builtin__" else imported.module
    name = f"{module}.{imported.name}"
    plain = "." not in imported.name  # a dotted name walks through attributes
    return plain and (name in ALLOWED | trusted or _TYPES.fullmatch(name) is not None)


def _walks(path: Path, form: Form) -> Iterator[tuple[str, Walk]]:
    if form in ("torch zip", "torchscript", "torch.export", "zip"):
        yield from _zip_walks(path, form)
        return
    with path.open("rb") as file:
        stream = io.BytesIO(file.read(MAX_PICKLE))
    end = len(stream.getbuffer())
    for number in range(_LEGACY_PICKLES if form == "torch legacy" else 1):
        found = walk(stream)
        yield f"pickle {number}", found
        if found.trouble or stream.tell() >= end:
            break


def _zip_walks(path: Path, form: Form) -> Iterator[tuple[str, Walk]]:
    with open_zip(path) as archive:
        if form == "torch zip":
            check_stored(archive, path)
        for entry in archive.infolist():
            if not entry.filename.endswith(".pkl"):
                continue
            with archive.open(entry) as file:
                content = file.read(MAX_PICKLE + 1)
            if len(content) > MAX_PICKLE:
                raise RefusedError(
                    f"at most {MAX_PICKLE:,} bytes of pickle",
                    f"{entry.file_size:,} in {entry.filename} of {path.name}",
                    "save the weights as safetensors",
                )
            yield entry.filename, walk(io.BytesIO(content))
