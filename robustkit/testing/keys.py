"""Keys of cached audits: digests of all that decides a result, without importing torch.

What cannot be told from files has the key None; it must be loaded, and is known by its weights.
"""

import hashlib
import importlib.util
import json
import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING

import robustkit
from robustkit.testing.settings import Settings

if TYPE_CHECKING:
    from robustkit.model import Classifier

DECIDING = ("preprocess", "threat", "suite", "attack", "samples", "seed", "device")
"""The settings that decide a result, apart from model and data; a budget decides how far only."""
COMPUTING = ("attacks", "audit", "defenses", "loading", "zoo")
"""The parts of robustkit that decide a result, beside its ground floor."""
CODE = (".py", ".safetensors")


def audit_key(settings: Settings, model: str, data: str) -> str:
    """The key of one audit: 64 hexadecimal digits."""
    facts: dict[str, object] = {name: getattr(settings, name) for name in DECIDING}
    facts |= {"model": model, "data": data, "arch": "", "robustkit": own_digest()}
    facts["torch"] = _version("torch")
    facts["plugins"] = sorted(
        f"{entry.value} {entry.dist.version if entry.dist else ''}"
        for entry in entry_points(group="robustkit.attacks")
    )
    if settings.arch:
        facts["arch"] = f"{settings.arch} {code_digest(settings.arch)}"
    if settings.suite and Path(settings.suite).is_file():
        facts["suite"] = digest([Path(settings.suite)])
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def model_key(spec: str) -> str | None:
    """The digest of a model that a file or the zoo holds."""
    path = Path(spec)
    if spec.startswith("zoo:"):
        return spec
    return digest([path]) if path.is_file() else None


def data_key(spec: str) -> str | None:
    """The digest of data that a file, a folder or the zoo holds."""
    path = Path(spec)
    if spec.startswith("zoo:"):
        return f"{spec} {_version('scikit-learn')}"
    if path.is_dir():
        return digest(sorted(one for one in path.rglob("*") if one.is_file()), path)
    return digest([path]) if path.is_file() else None


def weights_key(model: "Classifier") -> str:
    """The digest of a model in memory: weights, preprocessing, and the code of its network."""
    import torch

    found = hashlib.sha256(repr((model.preprocess.describe(), model.bounds)).encode())
    for name, value in model.module.state_dict().items():
        found.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    kinds = {type(module) for module in model.module.modules()}
    for kind in sorted(kinds, key=repr):
        found.update(repr(kind).encode())
        if not kind.__module__.startswith("torch."):
            found.update(code_digest(f"{kind.__module__}:{kind.__name__}").encode())
    return found.hexdigest()


def own_digest() -> str:
    """The digest of what computes results in robustkit: they change with its code."""
    folder = Path(robustkit.__file__).parent
    # A checkout holds these two as links, which rglob does not follow.
    places = [folder.glob("*"), *((folder / name).rglob("*") for name in COMPUTING)]
    return digest(_code(path for place in places for path in place), folder)


def code_digest(spec: str) -> str:
    """The digest of the code behind `pkg.mod:factory` or `file.py:factory`.

    The whole package counts, and beside a single file every other one in its folder, since it may
    import them.
    """
    where = spec.partition("?")[0].rpartition(":")[0]
    if where.endswith(".py"):
        return digest(_code(Path(where).parent.glob("*")), Path(where).parent)
    found = _spec(where.partition(".")[0])
    if found is None:
        return "unknown"
    if found.submodule_search_locations:
        folder = Path(next(iter(found.submodule_search_locations)))
        return digest(_code(folder.rglob("*")), folder)
    origin = Path(found.origin or "")
    return digest(_code(origin.parent.glob("*")), origin.parent) if origin.is_file() else "built in"


def digest(files: Iterable[Path], root: Path | None = None) -> str:
    """The digest of files' contents, and of their names below `root` where it is given."""
    found = hashlib.sha256()
    for path in files:
        if root:
            found.update(path.relative_to(root).as_posix().encode() + b"\0")
        with path.open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()


def _code(paths: Iterable[Path]) -> list[Path]:
    return sorted({path for path in paths if path.suffix in CODE and path.is_file()})


def _spec(name: str) -> ModuleSpec | None:
    """Find a top-level module without importing it; the working directory counts."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        found = None
    return found or PathFinder.find_spec(name, [str(Path.cwd()), *sys.path])


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
