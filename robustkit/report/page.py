"""A page from a template: no script, no request, one style sheet by its digest."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from robustkit.report import numbers
from robustkit.report.text import plain, shorten


def fill(template: str, filters: Mapping[str, Callable[..., Any]], **values: Any) -> str:
    """The template of that name with these values, and `filters` beside those for numbers.

    Whatever names hold, the page has no script and loads nothing: its security policy allows one
    style sheet, by its digest, and pictures that are part of the page.
    """
    style = _text("page.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=numbers.percent,
        span=numbers.span,
        count=numbers.count,
        duration=numbers.duration,
        hint=numbers.hint,
        shorten=shorten,
    )
    environment.filters.update(filters)
    page = environment.from_string(_text(template))
    return page.render(style=Markup(style), digest=Markup(digest), **values)


def address(png: bytes) -> str:
    """A picture as an address that holds it; "" for none.

    >>> address(b"abc")
    'data:image/png;base64,YWJj'
    """
    return f"data:image/png;base64,{base64.b64encode(png).decode()}" if png else ""


def _text(name: str) -> str:
    return files("robustkit.report").joinpath(name).read_text(encoding="utf-8")


def _clean(value: object) -> object:
    """Every value that the page prints, without what is not text; a number keeps its unit."""
    return value if isinstance(value, Markup) else plain(value).replace(" %", "\N{NO-BREAK SPACE}%")
