"""`robustkit attack MODEL`: adversarial examples as files, each one verified."""

from pathlib import Path
from typing import Any

import click

from robustkit.errors import UserError
from robustkit.options import LOADING, Option, dest
from robustkit.verbs.console import plain, print_json
from robustkit.verbs.labels import CLASSES, TO
from robustkit.verbs.progress import watching
from robustkit.verbs.verb import flags, single, verb

FORMAT = Option(
    "format",
    "One file with floats, or one 8-bit picture for each example.",
    default="safetensors",
    choices=("safetensors", "png"),
)
OUT = single("out", help="The folder to write to; it must not hold examples already.")

EXAMPLE = """\
robustkit attack model.safetensors --arch mypkg.nets:resnet18 --data test.npz \\
    --threat linf:8/255 --attack pgd:steps=40 --out examples/ --format png"""


@verb("attack", example=EXAMPLE)
@click.argument("model")
@flags(
    "data", single("threat", "linf:8/255"), single("attack", "pgd"), TO, CLASSES, *LOADING,
    "samples", "seed", "device", "batch-size", OUT, FORMAT, "json",
)  # fmt: skip
def command(model: str, **given: Any) -> None:
    """Attack what MODEL gets right, and write every success and a record of every sample to --out.

    records.jsonl has one line a sample. With --format png pixels are rounded towards the original,
    so that they stay inside the threat, and what fools nobody after that is not written.
    """
    from robustkit.audit.plan import make_plan

    if not given["data"] or not given["out"]:
        missing = "--out, a folder to write to" if given["data"] else "--data, what to attack"
        raise UserError(missing, "none", "see robustkit attack --help for an example")
    folder = Path(given["out"])
    if (folder / "records.jsonl").exists():
        raise UserError(
            "a folder without examples", f"{folder}, which holds some", "choose another --out"
        )
    plan = make_plan(
        model=model, data=given["data"], threats=[given["threat"]], attacks=[given["attack"]],
        samples=given["samples"], seed=given["seed"], batch_size=given["batch_size"],
        device=given["device"], **{key: given[key] for key in map(dest, LOADING)},
    )  # fmt: skip
    from robustkit.atomic import need_folder
    from robustkit.verbs.examples import Examples, make_examples

    need_folder(folder)
    with watching() as progress:
        made = make_examples(plan, target=given["to"], classes=given["classes"], progress=progress)
    written: Examples = made.as_pictures() if given["format"] == "png" else made
    written.write(folder, given["format"])
    summary = written.summary() | {"out": str(folder), "format": given["format"]}
    if given["json"]:
        print_json(summary)
        return
    click.echo(
        f"{summary['samples']} samples, {summary['attacked']} attacked with {given['attack']} "
        f"within {given['threat']}: {summary['fooled']} fooled, {summary['robust']} not"
    )
    if summary["misclassified"]:
        click.echo(f"{summary['misclassified']} were misclassified without an attack")
    if summary["rounded_off"]:
        click.echo(f"{summary['rounded_off']} successes did not survive 8-bit pixels: not written")
    click.echo(f"{summary['written']} examples in {plain(folder)}")
