"""`robustkit patch train|apply|print`: one patch for all pictures, as a file and on paper."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustkit.errors import UserError
from robustkit.options import LOADING, Option, dest
from robustkit.verbs.console import plain, print_json
from robustkit.verbs.labels import CLASSES, TO, find_class, name_of, read_classes
from robustkit.verbs.verb import Verb, flags, single, verb

if TYPE_CHECKING:
    from robustkit.attacks.patch import Recipe
    from robustkit.loading.samples import Samples
    from robustkit.model import Classifier

EXAMPLE = """\
robustkit patch train zoo:digits-standard
robustkit patch apply patch.png pictures/
robustkit patch print patch.png"""

SIZE = Option(
    "size", "A share of the picture's area, or HEIGHTxWIDTH.", metavar="SIZE", default="0.05"
)
SHAPE = Option("shape", "Its outline.", default="square", choices=("square", "round"))
STEPS = Option("steps", "Steps of training.", kind="integer", metavar="N", default=200)
SMOOTH = Option("smooth", "Weight of the total variation.", kind="number", metavar="X", default=0.0)
PRINTABLE = Option(
    "printable", "Weight of the distance to colours that ink can show.", "number", "X", 0.0
)
MASK = Option("mask", "A PNG whose opaque part is the outline, at --size.", metavar="FILE")
TOP = Option("top", "Paste it upright, its corner in this row.", kind="integer", metavar="N")
LEFT = Option("left", "Paste it upright, its corner in this column.", kind="integer", metavar="N")
WIDTH = Option("width", "Its width on paper, in cm.", kind="number", metavar="CM", default=5.0)
PAPER = Option("paper", "The sheet.", default="a4", choices=("a4", "a3", "letter"))
DPI = Option("dpi", "Dots per inch of the printer.", kind="integer", metavar="N", default=300)


class Verbs(Verb, click.Group):
    """A verb of several parts, each a verb of its own."""


@click.group("patch", cls=Verbs, example=EXAMPLE)
def command() -> None:
    """Train one patch that fools a model wherever it is put, put it on pictures, print it."""


@verb(
    "train",
    example="robustkit patch train torchvision:googlenet --data pictures/ --to toaster --size 0.1",
)
@click.argument("model")
@flags(
    "data", TO, CLASSES, SIZE, SHAPE, MASK, STEPS, SMOOTH, PRINTABLE, *LOADING, "samples", "seed",
    "device", single("out", "patch.png", help="The PNG to write."), "json",
)  # fmt: skip
def train(model: str, **given: Any) -> None:
    """Train a patch for MODEL on every other picture, and measure it on the rest."""
    from robustkit.audit.plan import make_plan

    if given["steps"] < 1:
        raise UserError("--steps >= 1", str(given["steps"]), "write for example --steps 200")
    plan = make_plan(
        model=model, data=given["data"], threats=[f"patch:{given['size']}"],
        attacks=["masked-pgd"], samples=given["samples"], seed=given["seed"],
        device=given["device"], **{key: given[key] for key in map(dest, LOADING)},
    )  # fmt: skip
    from robustkit.atomic import need_folder
    from robustkit.audit.device import choose_device
    from robustkit.loading import load, open_samples

    need_folder(Path(given["out"]).parent)
    classifier = load(model, device=str(choose_device(plan.device)), **plan.loading())
    samples = open_samples(plan.data, samples=plan.samples)
    facts = _trained(classifier, samples, given)
    if given["json"]:
        print_json(facts)
        return
    goal = f"seen as {plain(facts['target_name'])}" if facts["target_name"] else "misclassified"
    click.echo(
        f"{facts['fooled']:.1%} of {facts['measured_on']} other pictures {goal} with the patch "
        f"({facts['fooled_by_noise']:.1%} with noise of the same size)"
    )
    click.echo(f"{plain(given['out'])}: {facts['height']} x {facts['width']} pixels")


def _trained(model: "Classifier", samples: "Samples", given: dict[str, Any]) -> dict[str, Any]:
    """Train, write, measure; what is to be said of it."""
    import torch

    from robustkit.attacks.patch import Patch, success, train_patch
    from robustkit.audit.suspicion import check_labels
    from robustkit.verbs.flipping import answer
    from robustkit.verbs.patches import rounded, write_patch

    x, y = samples.pixels(slice(None)), samples.y
    if len(x) < 2:
        raise UserError("at least two pictures", str(len(x)), "give more --data or --samples")
    count = answer(model, x[:1]).shape[1]
    check_labels(samples, count)
    classes = read_classes(given["classes"], model.classes or samples.classes, count)
    target = None if given["to"] is None else find_class(given["to"], classes, count)
    seed = given["seed"]
    patch = rounded(
        train_patch(model, x[::2], y[::2], target=target, recipe=_recipe(x, given), seed=seed)
    )
    rest = y[1::2] != target if target is not None else y[1::2] >= 0
    shown = {"x": x[1::2][rest], "y": y[1::2][rest], "target": target, "seed": seed}
    noise = torch.rand(patch.pixels.shape, generator=torch.Generator().manual_seed(seed))
    rates = [
        float(success(model, one, **shown).float().mean()) if rest.any() else 0.0
        for one in (patch, Patch(noise, patch.mask))
    ]
    height, width = patch.mask.shape
    facts = {
        "model": model.name, "sha256": model.sha256, "data": samples.name, "target": target,
        "target_name": None if target is None else name_of(target, classes),
        "height": height, "width": width, "shape": given["shape"], "steps": given["steps"],
        "seed": seed, "fooled": rates[0], "fooled_by_noise": rates[1],
        "measured_on": int(rest.sum()),
    }  # fmt: skip
    write_patch(Path(given["out"]), patch, facts)
    return facts | {"patch": given["out"]}


def _recipe(x: Any, given: dict[str, Any]) -> "Recipe":
    """The recipe for pictures `x` `[N,C,H,W]`; raises UserError for a patch larger than they."""
    from robustkit.attacks.patch import Recipe
    from robustkit.rectangle import sides
    from robustkit.threat import ThreatModel
    from robustkit.verbs.patches import read_outline

    threat = ThreatModel.parse(f"patch:{given['size']}")
    height, width = sides(x[:1], threat.budget(x[:1]), threat.shape)
    if not int(height) or not int(width):
        raise UserError("--size of at least one pixel", given["size"], "give a larger --size")
    size = int(height), int(width)
    mask = None if given["mask"] is None else read_outline(Path(given["mask"]), size)
    return Recipe(
        size, given["shape"], given["steps"], smooth=given["smooth"],
        printable=given["printable"], mask=mask,
    )  # fmt: skip


@verb("apply", example="robustkit patch apply patch.png pictures/ --out patched/")
@click.argument("patch")
@click.argument("folder")
@flags(
    TOP, LEFT, "seed", single("out", help="The folder to write to, otherwise FOLDER-patched."),
    "json",
)  # fmt: skip
def apply(patch: str, folder: str, **given: Any) -> None:
    """Put the patch in PATCH on every picture of FOLDER, turned and placed at random."""
    from robustkit.verbs.patches import apply_patch, read_patch

    loaded, _ = read_patch(Path(patch))
    corner = None
    if given["top"] is not None or given["left"] is not None:
        corner = given["top"] or 0, given["left"] or 0
    source = Path(folder)
    out = Path(given["out"] or source.with_name(f"{source.resolve().name}-patched"))
    count = apply_patch(loaded, source, out, corner=corner, seed=given["seed"])
    facts = {"pictures": count, "out": str(out), "top": given["top"], "left": given["left"]}
    if given["json"]:
        print_json(facts)
    else:
        click.echo(f"{count} pictures with the patch in {plain(out)}")


@verb("print", example="robustkit patch print patch.png --width 8 --paper a4 --out sheet.png")
@click.argument("patch")
@flags(
    WIDTH, PAPER, DPI, single("out", help="The PNG to write, otherwise PATCH-sheet.png."), "json"
)
def print_sheet(patch: str, **given: Any) -> None:
    """Lay out a sheet of paper with as many copies of PATCH as fit, each of the given width."""
    from robustkit.verbs.patches import read_patch, save, sheet

    dpi = given["dpi"]
    if not 10 <= dpi <= 2400:
        raise UserError("--dpi from 10 to 2400", str(dpi), "write --dpi 300")
    loaded, _ = read_patch(Path(patch))
    page, count = sheet(loaded, given["width"], given["paper"], dpi)
    out = Path(given["out"] or Path(patch).with_name(f"{Path(patch).stem}-sheet.png"))
    save(page, out, dpi=(dpi, dpi))
    facts = {"copies": count, "width_cm": given["width"], "sheet": str(out), "dpi": dpi}
    if given["json"]:
        print_json(facts)
    else:
        click.echo(f"{count} copies of {given['width']:g} cm on {given['paper']}: {plain(out)}")


for part in (train, apply, print_sheet):
    command.add_command(part)
