"""`robustkit demo`: both embedded models side by side, and why one is worth shipping."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustkit.verbs.auditing import (
    PLANNED,
    carried_out,
    exit_code,
    planned,
    run_folder,
    written_out,
)
from robustkit.verbs.console import console, plain, print_json, print_table
from robustkit.verbs.verb import flags, verb

if TYPE_CHECKING:
    from robustkit.records import AuditLog

SAMPLES = 200
"""Enough to tell the two apart with both intervals far from each other, in seconds."""
SUITE = "quick"
NOT_HERE = ("data", "arch", "preprocess", "baseline", "claimed")


@verb("demo", example="robustkit demo --samples 200")
@flags(*(name for name in PLANNED if name not in NOT_HERE))
def command(**given: Any) -> None:
    """Audit two small models that come with robustkit, one after the other, and compare them.

    Both read handwritten digits equally well; one saw attacked pictures while it learned. Nothing
    is downloaded. Without --samples, the first 200 of 500 pictures are audited, and without
    --suite with the quick one.
    """
    both(given)


def both(given: Mapping[str, Any]) -> None:
    """Audit both models of the zoo as the flags say, print what came out, and leave."""
    from robustkit import zoo

    folder = given.get("out") or run_folder("zoo")
    wanted = {
        **given,
        "threat": given["threat"] or (zoo.THREAT,),
        "samples": SAMPLES if given["samples"] is None else given["samples"],
        "suite": given["suite"] or (None if given["attack"] else SUITE),
    }
    plans = [planned(f"zoo:{name}", wanted, out=str(Path(folder) / name)) for name in zoo.MODELS]
    command = written_out("audit", None, given)
    logs = [carried_out(plan, command=command, out=folder) for plan in plans]
    if given["json"]:
        print_json([log.model_dump(mode="json") for log in logs])
    else:
        _show(logs)
    click.echo(f"written to {plain(folder)}", err=True)
    click.get_current_context().exit(exit_code(logs, fail_untrusted=given["fail_untrusted"]))


def _show(logs: list["AuditLog"]) -> None:
    from robustkit.report.numbers import percent, span
    from robustkit.report.terminal import render_terminal

    for log in logs:
        render_terminal(log, console())
    rows = [
        (
            log.model.name,
            threat.threat,
            threat.samples,
            percent(threat.clean_accuracy),
            percent(threat.robust_accuracy) if threat.trusted else "untrusted",
            span(threat.interval) if threat.trusted else "",
        )
        for log in logs
        for threat in log.threats
    ]
    columns = ("model", "threat", "n", "clean", "robust", "95 % interval")
    print_table("side by side", columns, rows)
    console().print(plain(verdict(*logs)))


def verdict(first: "AuditLog", second: "AuditLog") -> str:
    """One sentence: which of two models is worth shipping, and why; or that it is not proven."""
    from robustkit.report.numbers import percent

    worse, better = sorted((first, second), key=lambda log: log.robust_accuracy)
    threat = worse.worst.threat
    if not (worse.trusted and better.trusted):
        return "No ranking: a number that cannot be trusted is no reason to ship anything."
    if worse.interval[1] >= better.interval[0]:
        return (
            f"Not proven that either is harder to fool under {threat}: the intervals overlap. "
            "Audit more samples."
        )
    clean = f"{percent(better.clean_accuracy)} and {percent(worse.clean_accuracy)}"
    robust = percent(better.robust_accuracy), percent(worse.robust_accuracy)
    return (
        f"{better.model.name} is worth shipping and {worse.model.name} is not: both are right "
        f"about unattacked pictures ({clean}), but under {threat} {robust[0]} of the first one's "
        f"answers stay right and {robust[1]} of the second one's."
    )
