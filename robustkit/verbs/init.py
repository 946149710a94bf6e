"""`robustkit init`: a robustness test, its baseline and CI, written into somebody's repository."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustkit.errors import UserError
from robustkit.options import Option
from robustkit.verbs.auditing import carried_out, planned, written_out
from robustkit.verbs.console import plain, print_json
from robustkit.verbs.verb import flags, single, verb

if TYPE_CHECKING:
    from robustkit.audit.plan import Plan
    from robustkit.records import AuditLog

INTO = Option("into", "The repository to write into.", metavar="DIR", default=".")
DRY_RUN = Option("dry-run", "Say what would be written; audit and write nothing.", kind="switch")
AT_LEAST = single(
    "at-least",
    metavar="FRACTION",
    help="The robust accuracy to ask for from now on; by default what is proven today.",
)
SETTINGS = ("arch", "data", "preprocess", "suite", "samples", "seed")
EXAMPLE = """\
robustkit init model.safetensors --arch mypkg.nets:resnet18 --data gate.npz --samples 1000
robustkit init --dry-run"""


@verb("init", example=EXAMPLE)
@click.argument("model", required=False)
@flags(
    "arch", "data", "preprocess", single("threat"), single("suite", "quick"), "samples", "seed",
    "device", "batch-size", "budget", AT_LEAST, INTO, DRY_RUN, "json",
)  # fmt: skip
def command(
    model: str | None, *, into: str, dry_run: bool, at_least: str | None, json: bool, **given: Any
) -> None:
    """Audit MODEL, and write a pytest test that keeps it as robust as it is today.

    A test with its settings, a baseline, and workflows for GitHub and GitLab go into the
    repository. Nothing that is there is overwritten. Without MODEL, an embedded one is taken.
    """
    from robustkit.testing import project

    root = Path(into)
    if not root.is_dir():
        raise UserError("a folder to write into", repr(into), "make it, or choose another --into")
    plan = _plan(model, given, at_least)
    named = {"model": plan.model, **{name: given[name] for name in SETTINGS if given[name]}}
    named.setdefault("data", plan.data)
    log = None if dry_run else carried_out(plan, command=written_out("init", model, given))
    wanted, each = _thresholds(plan, log)
    texts = project.files(root, named, threat=plan.threats[0], at_least=wanted, per_class=each)
    done = _write(root, texts, log)
    if json:
        print_json({"threat": plan.threats[0], "at_least": wanted, "files": done})
        return
    for path, what in done.items():
        click.echo(f"{what:11} {plain(path)}")
    _say_next(dry_run=dry_run)


def _plan(model: str | None, given: dict[str, Any], at_least: str | None) -> "Plan":
    """The plan of the audit that the baseline is made from; it leaves no run directory."""
    from robustkit import zoo

    threat = given["threat"] or (None if model else zoo.THREAT)
    wanted = {**given, "threat": (threat,) if threat else (), "attack": ()}
    wanted |= {"at_least": (at_least,) if at_least else ()}
    return planned(model, wanted).model_copy(update={"out": None})


def _thresholds(plan: "Plan", log: "AuditLog | None") -> tuple[float, float]:
    """What to ask for: robust accuracy, and that of every class; what is proven, rounded down."""
    asked = plan.at_least.get(plan.threats[0])
    if log is None:
        return (0.0 if asked is None else asked), 0.0
    from robustkit.audit.statistics import lower_bound, robust_count

    record = log.threats[0]
    proven = lower_bound(robust_count(record), record.samples)
    error = 0.05 / max(len(record.classes), 1)
    each = [lower_bound(one.robust, one.samples, 1 - error) for one in record.classes]
    return (_down(proven) if asked is None else asked), _down(min(each, default=0.0))


def _down(fraction: float) -> float:
    return math.floor(100 * fraction) / 100


def _write(root: Path, texts: dict[Path, str], log: "AuditLog | None") -> dict[str, str]:
    """Write what is not there yet, the baseline first; without a log say only what would be."""
    from robustkit.atomic import write_text
    from robustkit.audit.baseline import write_baseline
    from robustkit.testing.project import BASELINE

    done = {}
    for path in (BASELINE, *texts):
        target = root / path
        if target.exists():
            done[path.as_posix()] = "kept"
            continue
        done[path.as_posix()] = "would write" if log is None else "written"
        if log and path == BASELINE:
            write_baseline(log, target)
        elif log:
            write_text(target, texts[path])
    return done


def _say_next(*, dry_run: bool) -> None:
    if dry_run:
        click.echo("nothing was written: leave --dry-run away")
    else:
        click.echo("next: python -m pytest tests/robustness, look at the files, commit them")
