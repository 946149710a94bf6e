"""`robustkit certify MODEL`: a radius within which no attack can change the smoothed answer."""

import json as encoding
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustkit.errors import UserError
from robustkit.options import LOADING, Option
from robustkit.verbs.auditing import run_folder
from robustkit.verbs.console import plain, print_json, print_table
from robustkit.verbs.progress import watching
from robustkit.verbs.verb import flags, verb

if TYPE_CHECKING:
    from robustkit.audit.plan import Plan

SIGMA = Option("sigma", "The noise's deviation, in pixels of [0, 1].", "number", "N", 0.25)
DRAWS = Option("draws", "Noisy copies that estimate a picture's vote.", "integer", "N", 10_000)
ALPHA = Option("alpha", "How probable an error may be in a certificate.", "number", "P", 0.001)
RADIUS = Option(
    "radius", "An l2 radius to report; may be given several times.", "number", "R", multiple=True
)

EXAMPLE = """\
robustkit certify model.safetensors --arch mypkg.nets:resnet18 --preprocess cifar10 \\
    --data test.npz --samples 500 --sigma 0.25 --out certified/"""


@verb("certify", example=EXAMPLE)
@click.argument("model")
@flags(
    "data", SIGMA, DRAWS, ALPHA, RADIUS, "samples", *LOADING, "seed", "device", "batch-size", "out",
    "resume", "json",
)  # fmt: skip
def command(model: str, **given: Any) -> None:
    """Certify in l2 what MODEL says by a majority vote under Gaussian noise.

    A picture counts at a radius if the vote is right and proven not to change within it. MODEL
    should have been trained with such noise; without, it abstains or errs. The certificate is about
    the vote, which costs --draws looks a picture, not about MODEL without noise.
    """
    plan = _planned(model, given)
    from robustkit.atomic import write_text
    from robustkit.audit.device import choose_batch_size, choose_device
    from robustkit.defenses.smoothing import Smoothing
    from robustkit.loading import load, open_samples
    from robustkit.report.run_directory import finite
    from robustkit.verbs.certifying import certified, summary

    smoothing = Smoothing(given["sigma"], given["draws"], alpha=given["alpha"]).checked()
    device = choose_device(plan.device)
    classifier = load(plan.model, device=str(device), **plan.loading())
    samples = open_samples(plan.data).take(plan.samples)
    size = plan.batch_size or choose_batch_size(device, samples.x[0].numel())
    folder = Path(plan.out or "")
    try:
        with watching() as progress:
            found = certified(
                plan, smoothing, model=classifier, samples=samples, batch_size=size,
                progress=progress,
            )  # fmt: skip
    except KeyboardInterrupt as stop:
        stop.add_note(f"what is finished is kept: add --resume --out {folder} to go on")
        raise
    facts = {
        "model": classifier.name,
        "data": samples.name,
        **summary(found, samples.y, smoothing, given["radius"]),
    }
    write_text(folder / "certify.json", encoding.dumps(finite(facts), indent=2))
    if given["json"]:
        print_json(facts)
    else:
        _show(facts)
    click.echo(f"written to {plain(folder)}", err=True)


def _planned(model: str, given: dict[str, Any]) -> "Plan":
    """The part of an audit's plan that a certificate needs."""
    from robustkit.audit.plan import make_plan
    from robustkit.options import dest

    data = given["data"] or ("zoo:digits" if model.startswith("zoo:") else None)
    if data is None:
        raise UserError("--data, the pictures to certify", "no data", "add --data FILE.npz")
    if given["resume"] and not given["out"]:
        raise UserError("--out beside --resume", "--resume alone", "name the run to go on with")
    return make_plan(
        model=model, data=data, out=given["out"] or run_folder(f"{model}-certified"),
        **{key: given[key] for key in ("samples", "seed", "device", "batch_size", "resume")},
        **{key: given[key] for key in map(dest, LOADING)},
    )  # fmt: skip


def _show(facts: dict[str, Any]) -> None:
    from robustkit.report.numbers import percent, span

    rows = [
        (f"{row['radius']:g}", percent(row["certified_accuracy"]), span(row["interval"]))
        for row in facts["certified"]
    ]
    title = f"{plain(facts['model'])}, votes under noise of sigma {facts['sigma']:g}"
    print_table(title, ("l2 radius", "right and proven", "95 % interval"), rows)
    click.echo(
        f"{facts['samples']} samples, {facts['draws']} draws each; abstained on "
        f"{percent(facts['abstained'])}; each certificate errs with probability {facts['alpha']:g} "
        "at most"
    )
