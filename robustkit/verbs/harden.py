"""`robustkit harden MODEL`: the same network, harder to fool, and what that cost."""

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
    from robustkit.verbs.hardening import Wish
    from robustkit.verbs.model_card import Hardened

RECIPE = Option(
    "recipe",
    "fast, standard, strong, or an objective of `robustkit list defenses`; with settings as in "
    "trades:beta=3,smoothing=0.1,ema=0.999,warm_up=0.2.",
    metavar="NAME[:KEY=VALUE,...]",
)
BUDGET = single("budget", help="Train for about this time, such as 10m; it chooses a recipe.")
EPOCHS = Option("epochs", "Train for N epochs.", kind="integer", metavar="N")
FLIP = Option("flip", "Mirror half of the pictures: where left and right do not matter.", "switch")
DENOISER = Option(
    "denoiser",
    "Leave MODEL as it is, and train this network in front of it.",
    choices=("unet", "dncnn"),
)
HELD_OUT = Option(
    "held-out", "The pictures to audit on; otherwise a fifth of --data.", metavar="SPEC"
)
LIMIT = Option(
    "max-clean-drop",
    "Refuse a model that lost more clean accuracy than this.",
    kind="number",
    metavar="FRACTION",
    default=0.1,
)

EXAMPLE = """\
robustkit harden model.safetensors --arch mypkg.nets:resnet18 --preprocess cifar10 \\
    --data train.npz --held-out test.npz --threat linf:8/255 --recipe standard --out hardened/"""


@verb("harden", example=EXAMPLE)
@click.argument("model")
@flags(
    "data", HELD_OUT, "threat", RECIPE, DENOISER, BUDGET, EPOCHS, FLIP, LIMIT, "suite",
    "attack", "samples", *LOADING, "seed", "device", "out", "resume", "json",
)  # fmt: skip
def command(model: str, **given: Any) -> None:
    """Train MODEL against attacks, audit it before and after, and say what was won and paid.

    Leaves with 1, and does not call the model hardened, if robust accuracy did not rise or clean
    accuracy fell more than --max-clean-drop. The model itself is not changed: the new weights, a
    model card and both audits are written to --out. With --denoiser the new weights are those of a
    network in front of it, and the audit after attacks both together.
    """
    plan, wish, data = _planned(model, given)
    from robustkit.audit.device import choose_device
    from robustkit.audit.suspicion import check_labels
    from robustkit.loading import load
    from robustkit.verbs.flipping import answer
    from robustkit.verbs.hardening import facts, harden, split

    device = str(choose_device(plan.device))
    classifier = load(plan.model, device=device, **plan.loading())
    if classifier.access != "white-box":
        raise UserError("a model whose weights can be trained", model, "give its file and --arch")
    parts = split(data, given["held_out"], plan.seed)
    for part in parts:
        check_labels(part, answer(classifier, part.pixels([0])).shape[1])
    try:
        with watching() as progress:
            made = harden(plan, wish, model=classifier, data=parts, progress=progress)
    except KeyboardInterrupt as stop:
        stop.add_note(f"finished epochs are kept: add --resume --out {plan.out} to go on")
        raise
    if given["json"]:
        print_json(facts(made))
    else:
        _show(made)
    click.echo(f"written to {plain(plan.out)}", err=True)
    if made.reasons:
        click.get_current_context().exit(1)


def _planned(model: str, given: dict[str, Any]) -> "tuple[Plan, Wish, str]":
    """Everything that can be wrong with the flags, looked at before anything is loaded."""
    from robustkit.audit.plan import make_plan, parse_seconds
    from robustkit.defenses.training.recipe import recipe
    from robustkit.options import dest
    from robustkit.threat import ThreatModel
    from robustkit.verbs.hardening import Wish

    data = given["data"] or ("zoo:digits" if model.startswith("zoo:") else None)
    if data is None:
        raise UserError("--data, the pictures to train on", "no data", "add --data FILE.npz")
    if given["resume"] and not given["out"]:
        raise UserError("--out beside --resume", "--resume alone", "name the run to go on with")
    plan = make_plan(
        model=model, data=data, threats=given["threat"] or ["linf:8/255"], attacks=given["attack"],
        out=given["out"] or run_folder(f"{model}-hardened"), resume=given["resume"],
        **{key: given[key] for key in ("suite", "samples", "seed", "device")},
        **{key: given[key] for key in map(dest, LOADING)},
    )  # fmt: skip
    limit, epochs = given["max_clean_drop"], given["epochs"]
    if not 0 <= limit <= 1:
        raise UserError("--max-clean-drop in [0, 1]", f"{limit}", "write 0.1 for ten points")
    if epochs is not None and epochs < 1:
        raise UserError("at least one epoch", str(epochs), "write --epochs 10")
    if epochs is not None and given["budget"]:
        raise UserError("--epochs or --budget", "both of them", "leave one of them out")
    first, *others = map(ThreatModel.parse, plan.threats)
    recipe(given["recipe"] or "standard", first, several=bool(others))
    seconds = parse_seconds(given["budget"])
    wish = Wish(given["recipe"], epochs, seconds, given["flip"], limit, given["denoiser"])
    return plan, wish, data


def _show(made: "Hardened") -> None:
    from robustkit.verbs.changes import lines
    from robustkit.verbs.model_card import rows

    columns = ("model", "threat", "n", "clean", "robust", "95 % interval")
    print_table("before and after", columns, rows(made))
    for line in lines(made.changes):
        click.echo(line)
    for reason in made.reasons:
        click.echo(f"not hardened: {plain(reason)}")
    if not made.reasons:
        click.echo(f"hardened: {plain(made.weights)}")
