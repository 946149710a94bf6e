"""`robustkit flip IMAGE MODEL`: one picture, two labels, and the little between them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from robustkit.errors import ToolError
from robustkit.options import LOADING, dest
from robustkit.verbs.console import plain, print_json
from robustkit.verbs.labels import CLASSES, TO, choose_target, name_of, read_classes
from robustkit.verbs.verb import flags, single, verb

if TYPE_CHECKING:
    from torch import Tensor

OUT = single("out", help="The PNG to write; otherwise IMAGE-flip.png in this folder.")

EXAMPLE = """\
robustkit flip panda.png torchvision:googlenet --to gibbon --threat linf:0.007 --attack fgsm"""


class View(NamedTuple):
    """What the model says of one picture."""

    label: int
    name: str
    confidence: float

    @property
    def percent(self) -> str:
        """The confidence; 100 % only where it is exactly that."""
        if 0.99995 <= self.confidence < 1:
            return ">99.99 %"
        return f"{100 * self.confidence:.2f} %"


@verb("flip", example=EXAMPLE)
@click.argument("image")
@click.argument("model")
@flags(
    TO, single("threat", "linf:0.007"), single("attack", "fgsm"), CLASSES, *LOADING, "seed",
    "device", OUT, "json",
)  # fmt: skip
def command(image: str, model: str, **given: Any) -> None:
    """Change IMAGE so that MODEL sees something else in it, and draw picture, noise, picture.

    What MODEL sees in the unchanged picture is taken for right.
    """
    from robustkit.audit.plan import make_plan

    plan = make_plan(
        model=model, threats=[given["threat"]], attacks=[given["attack"]], seed=given["seed"],
        device=given["device"], **{key: given[key] for key in map(dest, LOADING)},
    )  # fmt: skip
    import torch

    from robustkit.attacks import build
    from robustkit.audit.attacking import check_access
    from robustkit.audit.device import choose_device
    from robustkit.goal import Goal
    from robustkit.loading import load
    from robustkit.threat import ThreatModel
    from robustkit.verbs.flipping import fitted, flip, probabilities, read

    x = read(image)
    device = str(choose_device(plan.device))
    classifier = load(model, device=device, **plan.loading())
    threat = ThreatModel.parse(plan.threats[0], classifier.bounds)
    attack = build(given["attack"])
    check_access(attack, classifier)
    x = fitted(x, classifier)
    shares = probabilities(classifier, x)
    classes = read_classes(given["classes"], classifier.classes, len(shares))
    label = int(shares.argmax())
    target = choose_target(given["to"], label, classes, len(shares))
    goal = Goal(torch.tensor([label]), None if target is None else torch.tensor([target]))
    flipped = flip(attack, classifier, x, goal, threat=threat, seed=given["seed"])
    before = View(label, name_of(label, classes), float(shares[label]))
    after = View(flipped.label, name_of(flipped.label, classes), flipped.confidence)
    path = Path(given["out"] or f"{Path(image).stem}-flip.png")
    facts = {
        "before": before._asdict(),
        "after": after._asdict(),
        "target": target,
        "fooled": flipped.fooled,
        "fooled_as_8_bit": flipped.eight_bit,
        "attack": given["attack"],
        "threat": threat.text,
        "size": flipped.size,
        "queries": flipped.queries,
        "magnified": draw(path, x, flipped.x_adv, views=(before, after), within=threat.text),
        "picture": str(path),
    }
    if given["json"]:
        print_json(facts)
    else:
        _show(facts, before, after)


def draw(
    path: Path, x: "Tensor", x_adv: "Tensor", *, views: tuple[View, View], within: str
) -> float:
    """Write the triptych of `[1,C,H,W]` pictures; returns by how much its noise is magnified."""
    from robustkit.verbs.triptych import Caption, magnification, triptych

    first, last = x[0].numpy(), x_adv[0].numpy()
    factor = magnification(first, last)
    sheet = triptych(
        first,
        last,
        (
            Caption(plain(views[0].name), f"{views[0].percent} confidence"),
            Caption(f"noise within {within}", f"magnified {factor:.3g} times"),
            Caption(plain(views[1].name), f"{views[1].percent} confidence"),
        ),
    )
    try:
        sheet.save(path, "PNG")
    except OSError as error:
        raise ToolError(
            "a file that can be written", f"{path}: {error.strerror}", "choose another --out"
        ) from None
    return factor


def _show(facts: dict[str, Any], before: View, after: View) -> None:
    for when, view in (("before", before), ("after", after)):
        click.echo(f"{when:<8}{plain(view.name)}  {view.percent}")
    verdict = "not fooled" if facts["target"] is None else "the target was not reached"
    if facts["fooled"]:
        saved = "still" if facts["fooled_as_8_bit"] else "not any more"
        verdict = f"fooled ({saved} when saved with 8 bits a pixel)"
    click.echo(
        f"{verdict}: {facts['attack']} within {facts['threat']}, size {facts['size']:.4g}, "
        f"{facts['queries']} queries"
    )
    click.echo(f"{plain(facts['picture'])}: the noise is magnified {facts['magnified']:.3g} times")
