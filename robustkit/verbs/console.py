"""What the verbs print: text without control characters, tables, JSON on a clean stdout."""

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console


def plain(text: object) -> str:
    r"""The text as one line that does nothing to a terminal; the report's own, imported on use.

    >>> plain("cat\x1b[2J\nand dog")
    'cat [2J and dog'
    """
    from robustkit.report.text import plain as cleaned

    return cleaned(text)


def console(*, stderr: bool = False) -> "Console":
    """A console that prints what it is given: no markup, no guessing of colours."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, soft_wrap=False)


def print_json(value: Any) -> None:
    """Print JSON on standard output; what is not finite becomes null, so that every reader can."""
    from robustkit.report.run_directory import finite

    click.echo(json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; cells are cleaned, columns of numbers stand to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD)
    rows = list(rows)
    for position, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[position], int | float) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    console().print(table)
