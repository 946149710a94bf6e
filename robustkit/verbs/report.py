"""`robustkit report RUN`: a finished run rendered again, in any format."""

from pathlib import Path

import click

from robustkit.errors import UserError
from robustkit.options import Option
from robustkit.verbs.console import console, plain
from robustkit.verbs.verb import flags, single, verb

FORMAT = Option(
    "format",
    "What to render.",
    default="terminal",
    choices=("terminal", "html", "markdown", "junit", "sarif", "cyclonedx", "json"),
)
OUT = single("out", help="The file to write; otherwise standard output.")


@verb("report", example="robustkit report run/ --format html --out report.html")
@click.argument("run", metavar="RUN")
@flags(FORMAT, OUT, "json")
def command(run: str, format: str, out: str | None, json: bool) -> None:  # noqa: A002
    """Render the run directory RUN, which an audit wrote; nothing is measured again."""
    from robustkit.atomic import write_text
    from robustkit.report import render
    from robustkit.report.run_directory import read_run

    wanted = "json" if json else format
    if wanted == "terminal" and out:
        raise UserError(
            "a format that can be a file beside --out",
            "the terminal's",
            "add --format html, markdown, junit, sarif, cyclonedx or json",
        )
    path = Path(run).expanduser()
    log = read_run(path)
    if wanted == "terminal":
        from robustkit.report.terminal import render_terminal

        render_terminal(log, console())
        return
    text = render(log, wanted, path if path.is_dir() else path.parent)
    if out is None:
        click.echo(text, nl=not text.endswith("\n"))
        return
    write_text(Path(out), text)
    click.echo(f"written to {plain(out)}", err=True)
