"""`robustkit compare RUN RUN...`: the first run against each later one, sample by sample."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from robustkit.errors import UserError
from robustkit.verbs.console import plain, print_json, print_table
from robustkit.verbs.verb import flags, verb

if TYPE_CHECKING:
    from robustkit.records import ComparisonRecord

SHOWN = 10


@verb("compare", example="robustkit compare runs/main runs/branch")
@click.argument("runs", metavar="RUN RUN...", nargs=-1)
@flags("json")
def command(runs: tuple[str, ...], json: bool) -> None:
    """Compare the first RUN with each later one on the samples that both were audited on.

    Leaves with 1 if a later run is significantly less robust (exact McNemar test, one-sided, 5 %).
    """
    if len(runs) < 2:
        got = f"{len(runs)} of them"
        raise UserError("two run directories or more", got, "name a baseline and a newer run")
    from robustkit.audit.compare import compare
    from robustkit.report.run_directory import read_run

    logs = [read_run(Path(run).expanduser()) for run in runs]
    found = [one for log in logs[1:] for one in compare(logs[0], log)]
    if json:
        print_json([one.model_dump(mode="json") for one in found])
    else:
        _show(found)
    if any(one.significant_drop for one in found):
        click.get_current_context().exit(1)


def _show(found: list["ComparisonRecord"]) -> None:
    from robustkit.report.numbers import percent

    rows = [
        (
            one.current,
            one.threat,
            one.samples,
            percent(one.baseline_accuracy),
            percent(one.current_accuracy),
            one.lost,
            one.gained,
            f"{one.p:.2g}",
            "DROP" if one.significant_drop else "no drop",
        )
        for one in found
    ]
    columns = ("run", "threat", "n", "before", "after", "lost", "gained", "p", "verdict")
    print_table(f"against {plain(found[0].baseline)}", columns, rows)
    for one in found:
        worse = [
            f"class {label}: -{lost} +{won}" for label, _, lost, won in one.by_class if lost > won
        ]
        if worse:
            click.echo(
                f"{plain(one.current)} under {plain(one.threat)}: {'; '.join(worse[:SHOWN])}"
            )
        if one.significant_drop:
            ids = ", ".join(plain(name) for name in one.regressions[:SHOWN])
            more = len(one.regressions) - SHOWN
            click.echo(f"no longer robust: {ids}{f' and {more} more' if more > 0 else ''}")
