"""The user's own code by name: `pkg.mod:factory` or `file.py:factory`, called on request only."""

import ast
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from robustkit.errors import RobustkitError, UserError

FORM = "pkg.mod:factory or file.py:factory"


def split_query(text: str) -> tuple[str, dict[str, Any]]:
    """Split `name?key=value&key=value`; values are Python literals where they look like one.

    >>> split_query("resnet18?weights=none&num_classes=10")
    ('resnet18', {'weights': 'none', 'num_classes': 10})
    """
    name, _, query = text.partition("?")
    options: dict[str, Any] = {}
    for part in query.split("&") if query else ():
        key, equals, value = part.partition("=")
        if not key or not equals:
            raise UserError("options as ?key=value&key=value", repr(text), "write key=value")
        try:
            options[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[key] = value
    return name, options


def call_factory(spec: str) -> Any:
    """Import what `spec` names and call it; `?key=value` are its arguments.

    The working directory can be imported from, as with `python -m`. Something that is there but
    cannot be called is returned as it is. Raises UserError where it cannot be found or fails.
    """
    spec, options = split_query(spec)
    with _importable(Path.cwd()):
        return _called(find_object(spec), options, spec)


def find_object(spec: str) -> Any:
    """What `pkg.mod:name` names, not called; raises UserError where there is no such thing."""
    where, colon, name = spec.rpartition(":")
    if not (where and colon and name.isidentifier()):
        raise UserError(FORM, repr(spec), "write for example mypkg.nets:resnet18")
    with _importable(Path.cwd()):
        module = _module(where)
    if not hasattr(module, name):
        names = [n for n in vars(module) if not n.startswith("_")]
        raise UserError(
            f"{name!r} in {where}", "no such name", f"choose one of: {', '.join(names[:20])}"
        )
    return getattr(module, name)


def _called(factory: Any, options: dict[str, Any], spec: str) -> Any:
    import torch

    if isinstance(factory, torch.nn.Module) or not callable(factory):
        return factory
    try:
        return factory(**options)
    except RobustkitError:
        raise
    except Exception as error:
        raise UserError(
            f"{spec} to return without an error when called with {options or 'no arguments'}",
            f"{type(error).__name__}: {error}",
            "give its arguments as ?key=value, or write a factory that needs none",
        ) from error


def _module(where: str) -> ModuleType:
    try:
        return (
            _file_module(Path(where)) if where.endswith(".py") else importlib.import_module(where)
        )
    except ModuleNotFoundError as error:
        raise UserError(
            f"{FORM}, importable from here",
            f"{where!r} ({error})",
            "run from the folder that holds it, install it, or set PYTHONPATH",
        ) from None
    except Exception as error:
        raise UserError(
            f"{where} to import without an error", f"{type(error).__name__}: {error}", "mend it"
        ) from error


def _file_module(path: Path) -> ModuleType:
    if not path.is_file():
        raise ModuleNotFoundError(f"no file {path}")
    # A name of its own, so that two files called nets.py do not become one module.
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    name = f"robustkit_factory_{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with _importable(path.resolve().parent):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let modules in `folder` be imported for a while."""
    entry = str(folder)
    added = entry not in sys.path
    if added:
        sys.path.insert(0, entry)
    try:
        yield
    finally:
        if added and entry in sys.path:
            sys.path.remove(entry)
