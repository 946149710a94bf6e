"""What a waiting person sees on standard error: a bar on a terminal, plain lines elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from robustkit.verbs.console import console, plain

if TYPE_CHECKING:
    from rich.progress import Progress

    from robustkit.audit.bout import Progress as Watcher


class Lines:
    """One line a phase and a note: what a log file wants."""

    def phase(self, text: str, total: int) -> None:
        """Print the phase."""
        click.echo(f"  {plain(text)}", err=True)

    def advance(self, n: int) -> None:
        """Nothing: a log is not a clock."""

    def note(self, text: str) -> None:
        """Print the note."""
        click.echo(plain(text), err=True)


class Bar:
    """One bar, which begins anew with every phase; notes scroll away above it."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None)

    def phase(self, text: str, total: int) -> None:
        """Start the bar again."""
        self._progress.reset(self._task, description=plain(text), total=max(total, 1))

    def advance(self, n: int) -> None:
        """Move the bar."""
        self._progress.advance(self._task, n)

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(plain(text))


@contextmanager
def watching() -> Iterator["Watcher"]:
    """Whoever is to be told, while the block lasts; a bar is gone afterwards."""
    stderr = console(stderr=True)
    if not stderr.is_terminal:
        yield Lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Elapsed(),
        TextColumn("left"),
        Remaining(),
    )
    with Progress(*columns, console=stderr, transient=True) as progress:
        yield Bar(progress)
