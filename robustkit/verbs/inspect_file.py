"""`robustkit inspect FILE`: what a checkpoint holds, and what it would run."""

from typing import TYPE_CHECKING

import click

from robustkit.errors import RefusedError
from robustkit.verbs.console import plain, print_json, print_table
from robustkit.verbs.verb import flags, verb

if TYPE_CHECKING:
    from robustkit.loading import Inspection

SHOWN = 40


@verb("inspect", example="robustkit inspect model.pt")
@click.argument("file", type=click.Path())
@flags("json")
def command(file: str, json: bool) -> None:
    """Say what FILE is, which tensors it holds and what it would run, without running anything.

    Leaves with 4 if the file would not be loaded.
    """
    from robustkit.loading import inspect_file

    found = inspect_file(file)
    if json:
        print_json(found.model_dump(mode="json"))
    else:
        _show(found)
    if not found.loadable:
        click.get_current_context().exit(RefusedError.exit_code)


def _show(found: "Inspection") -> None:
    click.echo(f"{plain(found.path)}: {found.form}, {found.bytes:,} bytes")
    click.echo(f"sha256 {found.sha256}")
    for key, value in found.metadata.items():
        click.echo(f"{plain(key)}: {plain(value)[:200]}")
    if found.tensors:
        rows = [(name, kind, " x ".join(map(str, shape))) for name, kind, shape in found.tensors]
        print_table(f"{len(rows)} tensors", ("name", "type", "shape"), rows[:SHOWN])
        if len(rows) > SHOWN:
            click.echo(f"... and {len(rows) - SHOWN} more: --json lists them all")
    for danger in found.dangers:
        click.echo(f"would run: {plain(danger)}")
    for note in found.notes:
        click.echo(f"note: {plain(note)}")
    click.echo("can be loaded" if found.loadable else "refused: it will not be loaded")
