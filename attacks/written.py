"""Settings as they are written behind a name, `key=value,...`, read as a builder's own."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from robustkit.errors import UserError


def defaults(build: Callable[..., Any]) -> dict[str, Any]:
    """The settings that a builder takes, with their defaults; its `name` is none."""
    accepted = inspect.signature(build).parameters.values()
    return {
        one.name: None if one.default is one.empty else one.default
        for one in accepted
        if one.name != "name"
    }


def read_settings(name: str, text: str, accepted: Mapping[str, Any]) -> dict[str, Any]:
    """What `text` says of the settings `accepted`, each of the kind of its default.

    Raises UserError for what is not accepted, for values of another kind, and for numbers that
    nothing can be done with: no steps, NaN, less than nothing.

    >>> read_settings("pgd", "steps=40", {"steps": 20, "sigma": 0.0})
    {'steps': 40}
    """
    settings: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        if key not in accepted:
            names = ", ".join(accepted) or "it has none"
            raise UserError(f"a setting of {name}: {names}", repr(part), f"write {name}:key=value")
        settings[key] = _value(part, value, accepted[key])
    return settings


def _value(part: str, text: str, default: object) -> object:
    """Read a setting as its default's kind; what defaults to None is a number."""
    if isinstance(default, bool):
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise UserError("true or false", repr(part), "write for example random_start=false")
    if isinstance(default, str):
        return text
    try:
        number = int(text) if isinstance(default, int) else float(text)
    except ValueError:
        raise UserError("a number", repr(part), "write for example steps=40") from None
    if not math.isfinite(number) or number < 0 or (number == 0 and _counts(default)):
        least = "a positive number" if _counts(default) else "a number that is not negative"
        raise UserError(least, repr(part), "leave it away for its default")
    return number


def _counts(default: object) -> bool:
    """Whether zero makes no sense: it would be no step, no query, no length at all."""
    return default is None or (isinstance(default, int) and default > 0)
