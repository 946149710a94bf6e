"""`robustkit certify MODEL`: what no attack can change, proven, and what one can, tried."""

import json as encoding
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustkit.errors import UserError
from robustkit.options import LOADING, Option
from robustkit.verbs.auditing import run_folder
from robustkit.verbs.console import plain, print_json, print_table
from robustkit.verbs.progress import watching
from robustkit.verbs.verb import flags, single, verb

if TYPE_CHECKING:
    from robustkit.audit.plan import Plan

METHOD = Option(
    "method",
    "smoothing proves an l2 radius of a vote under noise, ibp a linf budget of the network itself, "
    "patch-cleanser that a patch changes nothing of a vote under masks.",
    default="smoothing",
    choices=("smoothing", "ibp", "patch-cleanser"),
)
THREAT = single("threat", help="What ibp or patch-cleanser proves: linf:EPS or patch:HxW.")
SIGMA = Option("sigma", "The noise's deviation, in pixels of [0, 1].", "number", "N", 0.25)
DRAWS = Option("draws", "Noisy copies that estimate a picture's vote.", "integer", "N", 10_000)
ALPHA = Option("alpha", "How probable an error may be in a certificate.", "number", "P", 0.001)
RADIUS = Option(
    "radius", "An l2 radius to report; may be given several times.", "number", "R", multiple=True
)
MASKS = Option("masks", "Masks to a side of the picture: more hide less each.", "integer", "N", 6)
FILL = Option("fill", "What a mask shows, in pixels of [0, 1].", "number", "N", 0.0)
BARE = Option("no-attack", "Certify only, and run no attack beside it.", "switch")

EXAMPLE = """\
robustkit certify model.safetensors --arch mypkg.nets:resnet18 --preprocess cifar10 \\
    --data test.npz --samples 500 --sigma 0.25 --out certified/
robustkit certify model.safetensors --arch mypkg.nets:small --data test.npz \\
    --method ibp --threat linf:0.1"""


@verb("certify", example=EXAMPLE)
@click.argument("model")
@flags(
    "data", METHOD, THREAT, SIGMA, DRAWS, ALPHA, RADIUS, MASKS, FILL, BARE, "samples", *LOADING,
    "seed", "device", "batch-size", "out", "resume", "json",
)  # fmt: skip
def command(model: str, **given: Any) -> None:
    """Prove what no attack can change of MODEL's answers, and attack it beside the proof.

    The truth lies between the two numbers: what is right and proven, and what is right under
    attack. By smoothing and patch-cleanser the certificate is about the vote, which costs many
    looks a picture, not about MODEL alone; MODEL should have been trained for the method, by
    `robustkit harden --recipe gaussian`, `ibp` or `masked`.
    """
    plan = _planned(model, given)
    from robustkit.atomic import write_text
    from robustkit.audit.device import choose_batch_size, choose_device
    from robustkit.audit.suspicion import check_labels
    from robustkit.loading import load, open_samples
    from robustkit.report.run_directory import finite
    from robustkit.verbs.certificates import method
    from robustkit.verbs.certifying import certified
    from robustkit.verbs.flipping import answer

    device = choose_device(plan.device)
    classifier = load(plan.model, device=str(device), **plan.loading())
    samples = open_samples(plan.data).take(plan.samples)
    check_labels(samples, answer(classifier, samples.pixels([0])).shape[1])
    size = plan.batch_size or choose_batch_size(device, samples.x[0].numel())
    chosen = method(given["method"], classifier, samples, given, batch_size=size)
    attacked = not given["no_attack"] and classifier.access == "white-box"
    folder = Path(plan.out or "")
    try:
        with watching() as progress:
            found = certified(
                plan, chosen, model=classifier, samples=samples, attacked=attacked,
                progress=progress,
            )  # fmt: skip
    except KeyboardInterrupt as stop:
        stop.add_note(f"what is finished is kept: add --resume --out {folder} to go on")
        raise
    facts = {"model": classifier.name, "data": samples.name, **found}
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

    rows = []
    for row in facts["certified"]:
        proven = percent(row["certified_accuracy"]), span(row["interval"])
        tried = ("", "")
        if "attacked_accuracy" in row:
            tried = percent(row["attacked_accuracy"]), span(row["attacked_interval"])
        rows.append((row["threat"], *proven, *tried))
    columns = ("threat", "right and proven", "95 % interval", "right under attack", "95 % interval")
    print_table(f"{plain(facts['model'])}, certified by {facts['method']}", columns, rows)
    line = f"{facts['samples']} samples, clean {percent(facts['clean_accuracy'])}"
    if facts["method"] == "smoothing":
        line += (
            f"; noise of sigma {facts['sigma']:g}, {facts['draws']} draws each; abstained on "
            f"{percent(facts['abstained'])}; each certificate errs with probability "
            f"{facts['alpha']:g} at most"
        )
    click.echo(line)
