"""What to audit and how: from flags, markers, the ini file and conftest.py, in this order."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pytest

from robustkit.errors import UserError
from robustkit.options import Option
from robustkit.testing.flags import AUDITING, dest

MARKER = "the marker robust"
_TAKEN = {one.dest: one for one in AUDITING}
_FILES = ("model", "data", "arch", "suite")


@dataclass(frozen=True)
class Settings:
    """One audit's settings, checked for their kind only; the plan checks what they mean."""

    model: str | None = None
    arch: str | None = None
    preprocess: str | None = None
    data: str | None = None
    threat: tuple[str, ...] = ()
    suite: str | None = None
    attack: tuple[str, ...] = ()
    samples: int | None = None
    seed: int = 0
    device: str = "auto"
    batch_size: str = "auto"
    budget: str | None = None
    gate: str = "no-breach"
    undecided: str = "warn"


def resolve(
    config: pytest.Config, *, marks: Iterable[Mapping[str, Any]] = (), hook: Any = None
) -> Settings:
    """The settings that hold for one test; `marks` are its markers' arguments, closest first.

    `hook` knows which conftest.py files the test sees. Raises UserError for what is no setting,
    and for a value of the wrong kind.
    """
    root = config.rootpath
    hooked = (hook or config.hook).pytest_robustkit_settings(config=config)
    values: dict[str, Any] = {}
    for given in reversed(hooked):
        values |= checked(given, "pytest_robustkit_settings", root)
    ini = {one.dest: config.getini(one.ini_name) for one in AUDITING}
    values |= checked(_present(ini), "the ini file", (config.inipath or root / "ini").parent)
    for mark in reversed([*marks]):
        values |= checked(mark, MARKER, root)
    flags = {one.dest: config.getoption(dest(one)) for one in AUDITING}
    values |= checked(_present(flags), "a flag", config.invocation_params.dir)
    return Settings(**values)


def checked(given: Mapping[str, Any], place: str, folder: Path) -> dict[str, Any]:
    """Check names and kinds of settings; files are looked for in `folder`."""
    for name in given:
        if name not in _TAKEN:
            near = get_close_matches(name, _TAKEN, n=1) or [", ".join(_TAKEN)]
            raise UserError(f"a setting in {place}", repr(name), f"did you mean {near[0]}?")
    values = {name: _read(_TAKEN[name], value, place) for name, value in given.items()}
    return values | {n: located(values[n], folder) for n in _FILES if values.get(n)}


def slip(mark: pytest.Mark, folder: Path) -> str:
    """What is wrong with a marker, or nothing."""
    try:
        if mark.args:
            got, fix = ", ".join(map(repr, mark.args)), 'write robust(threat="linf:8/255")'
            raise UserError(f"names and values in {MARKER}", got, fix)
        checked(mark.kwargs, MARKER, folder)
    except UserError as error:
        return str(error)
    return ""


def located(text: str, folder: Path) -> str:
    """The path of a file in `folder`, also before a `:factory`; any other text as it is."""
    name, colon, rest = text.rpartition(":") if ".py:" in text else (text, "", "")
    path = folder / Path(name).expanduser()
    return f"{path}{colon}{rest}" if name and path.exists() else text


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, [])}


def _read(one: Option, value: Any, place: str) -> Any:
    """The value in the option's kind."""
    if one.multiple:
        parts = [value] if isinstance(value, str) else value
        if isinstance(parts, list | tuple) and all(isinstance(part, str) for part in parts):
            return tuple(parts)
        raise _wrong(one, value, place, "text, or a list of texts")
    if one.kind == "integer":
        if isinstance(value, bool) or not str(value).isdigit():
            raise _wrong(one, value, place, "a whole number")
        return int(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float | Path):
        raise _wrong(one, value, place, "text")
    if one.choices and value not in one.choices:
        raise _wrong(one, value, place, " or ".join(one.choices))
    return str(value)


def _wrong(one: Option, value: object, place: str, expected: str) -> UserError:
    return UserError(f"{expected} for {one.dest} in {place}", repr(value), one.help)
