"""`robustkit detect MODEL`: blind an object detector, or make it see things, and measure it."""

import json as encoding
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustkit.errors import UserError
from robustkit.options import Option, dest
from robustkit.verbs.auditing import run_folder
from robustkit.verbs.console import plain, print_json, print_table
from robustkit.verbs.progress import watching
from robustkit.verbs.verb import flags, single, verb

if TYPE_CHECKING:
    from robustkit.audit.plan import Plan
    from robustkit.report.detection import Drawing

IMAGES = Option("images", "The folder of the pictures, otherwise that of --data.", metavar="DIR")
OBJECTIVE = Option(
    "objective",
    "What the attacker wants: objects unseen, seen as --to, or where there are none.",
    default="disappear",
    choices=("disappear", "misclassify", "create"),
)
TO = Option(
    "to", "The category to be seen as; otherwise the only one to vanish or appear.",
    metavar="CATEGORY",
)  # fmt: skip
CONFIDENCE = Option(
    "confidence", "From which a detection counts, before and after.", "number", "P", 0.05
)
PLACE = Option("place", "Where one patch for all lies.", choices=("corner", "centre", "anywhere"),
               default="corner")  # fmt: skip
STEPS = Option("steps", "Steps of training such a patch.", "integer", "N", 200)
READING = (
    "arch", "state-key", "strip-prefix", "trust-class", "allow-unsafe-pickle", "allow-torchscript",
    "allow-pt2",
)  # fmt: skip
EACH = "pgd:steps=40"

EXAMPLE = """\
robustkit detect torchvision:fasterrcnn_resnet50_fpn --data instances_val2017.json \\
    --images val2017/ --samples 50 --threat linf:8/255 --out blinded/
robustkit detect model.safetensors --arch mypkg.nets:detector --data scenes.json \\
    --threat patch:32x32 --objective disappear --at-least 0.30"""


@verb("detect", example=EXAMPLE)
@click.argument("model")
@flags(
    single("data", help="A COCO file of annotations; its category ids are MODEL's labels."), IMAGES,
    single("threat", "linf:8/255", help="What may change: NORM:EPS, or patch:HEIGHTxWIDTH."),
    OBJECTIVE, TO, CONFIDENCE,
    single("attack", help=f"One attack on each picture, otherwise {EACH}, or one patch for all."),
    PLACE, STEPS, *READING, "samples", "seed", "device",
    single("at-least", help="Fail if mAP under attack is below this fraction.",
           metavar="FRACTION"),
    "out", "resume", "json",
)  # fmt: skip
def command(model: str, **given: Any) -> None:
    """Attack the detector MODEL on pictures with boxes, and report mAP before and after.

    MODEL is a Faster R-CNN, RetinaNet, FCOS, SSD or SSDLite of torchvision's making. Under a norm
    each picture is attacked by itself. Under patch:HEIGHTxWIDTH one patch for all pictures is
    trained on every other one and measured on the rest, unless --attack names an attack.
    """
    plan = _planned(model, given)
    started = time.perf_counter()
    from robustkit.atomic import write_bytes, write_text
    from robustkit.audit.ledger import FILE as LEDGER
    from robustkit.report.detection import headline, render_detection
    from robustkit.report.run_directory import finite

    folder = Path(plan.out or "")
    try:
        facts, drawings = _run(plan, given)
    except KeyboardInterrupt as stop:
        if (folder / LEDGER).exists():
            stop.add_note(f"what is finished is kept: add --resume --out {folder} to go on")
        raise
    facts |= {"seed": plan.seed, "seconds": time.perf_counter() - started}
    for number, drawing in enumerate(drawings):
        write_bytes(folder / "examples" / f"{number:02}.png", drawing.png)
    write_text(folder / "detection.json", encoding.dumps(finite(facts), indent=2) + "\n")
    write_text(folder / "report.html", render_detection(facts, drawings))
    if given["json"]:
        print_json(facts)
    else:
        _show(facts)
        click.echo(plain(headline(facts)))
        for gate in facts["gates"]:
            click.echo(f"{gate['verdict']}: {gate['reason']}")
        for note in facts["notes"]:
            click.echo(f"note: {plain(note)}", err=True)
    click.echo(f"report: {plain(folder / 'report.html')}", err=True)
    if any(gate["verdict"] == "FAIL" for gate in facts["gates"]):
        click.get_current_context().exit(1)


def _planned(model: str, given: dict[str, Any]) -> "Plan":
    """The part of an audit's plan that this needs; raises UserError for what is wrong."""
    from robustkit.audit.plan import make_plan

    if not given["data"]:
        raise UserError("--data, a COCO file of annotations", "none", "add --data FILE.json")
    if given["resume"] and not given["out"]:
        raise UserError("--out beside --resume", "--resume alone", "name the run to go on with")
    if given["steps"] < 1:
        raise UserError("--steps >= 1", str(given["steps"]), "write for example --steps 200")
    if given["objective"] == "misclassify" and given["to"] is None:
        raise UserError("--to CATEGORY with --objective misclassify", "none", "add --to CATEGORY")
    patch = given["threat"].strip().lower().startswith("patch")
    return make_plan(
        model=model, data=given["data"], threats=[given["threat"]],
        attacks=[given["attack"] or ("masked-pgd" if patch else EACH)],
        at_least=[given["at_least"]] if given["at_least"] else [],
        out=given["out"] or run_folder(f"{model}-detect"), resume=given["resume"],
        **{key: given[key] for key in ("samples", "seed", "device")},
        **{key: given[key] for key in map(dest, READING)},
    )  # fmt: skip


def _run(plan: "Plan", given: dict[str, Any]) -> "tuple[dict[str, Any], list[Drawing]]":
    """Load, attack, measure."""
    from robustkit.audit.device import choose_device
    from robustkit.loading.coco import read_coco
    from robustkit.loading.detectors import load_detector
    from robustkit.threat import ThreatModel
    from robustkit.verbs.detected import find_label, measured
    from robustkit.verbs.detecting import Wish, attacked, begun, prepare

    kept = {key: plan.loading()[key] for key in ("arch", "state_key", "prefix", "trust")}
    images = Path(given["images"]) if given["images"] else None
    scenes = read_coco(Path(plan.data), images, samples=plan.samples)
    detector = load_detector(plan.model, device=str(choose_device(plan.device)), **kept)
    threat = ThreatModel.parse(given["threat"])
    attack = given["attack"] or (None if threat.norm_name == "patch" else EACH)
    target = find_label(given["to"], scenes.categories)
    wish = Wish(
        threat, given["objective"], target, given["confidence"], attack, given["place"],
        given["steps"], seed=plan.seed,
    )  # fmt: skip
    prepare(detector, scenes, wish)
    folder = Path(plan.out or "")
    ledger = begun(folder, detector, scenes, wish, resume=plan.resume)
    with watching() as progress:
        made = attacked(detector, scenes, wish, folder=folder, ledger=ledger, progress=progress)
    facts, drawings = measured(detector, scenes, made, wish)
    facts |= {
        "threat": threat.text, "objective": wish.objective, "target": target,
        "target_name": None if target is None else scenes.categories[target],
        "confidence": wish.confidence, "attack": attack or f"robust-dpatch:steps={wish.steps}",
        "gates": _gates(facts["attacked"], plan),
    }  # fmt: skip
    return facts, drawings


def _gates(after: dict[str, Any], plan: "Plan") -> list[dict[str, Any]]:
    """The verdict on mAP under attack, if one was asked for."""
    from robustkit.report.detection import mean_precision
    from robustkit.report.numbers import percent

    return [
        {
            "verdict": "PASS" if after["map"] >= least else "FAIL", "threat": threat,
            "at_least": least,
            "reason": f"mAP {mean_precision(after)} under {threat}; {percent(least)} was asked",
        }
        for threat, least in plan.at_least.items()
    ]  # fmt: skip


def _show(facts: dict[str, Any]) -> None:
    from robustkit.report.numbers import percent, span

    rows = [
        (
            name, percent(facts[key]["map"]), span(facts[key]["map_interval"]),
            percent(facts[key]["map50"]),
            facts[key]["vanished"], facts[key]["relabelled"],
            f"{facts[key]['false_boxes'] / facts['pictures']:.2g}",
        )
        for name, key in (("clean", "clean"), ("random", "control"), ("attacked", "attacked"))
    ]  # fmt: skip
    title = f"{plain(facts['model'])}, {facts['threat']}, {facts['objective']}"
    columns = (
        "pictures",
        "mAP",
        "95 % interval",
        "AP at .5",
        "vanished",
        "relabelled",
        "false boxes a picture",
    )
    print_table(title, columns, rows)
