"""What `harden` does: split, train, audit before and after, and judge whether it was worth it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save

from robustkit import zoo
from robustkit.atomic import write_bytes, write_text
from robustkit.audit.conduct import conduct
from robustkit.audit.plan import Plan
from robustkit.defenses.training import checkpoint
from robustkit.defenses.training.loop import Entry, Training, train
from robustkit.defenses.training.pace import within
from robustkit.defenses.training.recipe import DENOISER, Recipe, recipe, tuned
from robustkit.draws import Draws
from robustkit.errors import UserError
from robustkit.loading import Samples, open_samples
from robustkit.model import Classifier
from robustkit.records import AuditLog
from robustkit.threat import ThreatModel
from robustkit.verbs.changes import changes
from robustkit.verbs.denoising import before_model, paired
from robustkit.verbs.model_card import Hardened, card, warnings

if TYPE_CHECKING:
    from robustkit.audit.bout import Progress

SHARE_HELD_OUT = 0.2
_HELD_OUT = 9
HARDENED, CANDIDATE = "hardened.safetensors", "candidate.safetensors"


@dataclass(frozen=True)
class Wish:
    """What to make of a model.

    `recipe` is a name, maybe with settings, or None; `seconds` the time there is for it. With a
    `denoiser`, its name, the model stays as it is and a network in front of it learns.
    """

    recipe: str | None
    epochs: int | None
    seconds: float | None
    flip: bool
    max_clean_drop: float
    denoiser: str | None = None


def split(data: str, held_out: str | None, seed: int) -> tuple[Samples, Samples]:
    """Pictures to train on and others to audit on.

    The zoo has both; elsewhere a seeded fifth is taken from `data`, unless `held_out` names
    others. Raises UserError where both are the same.
    """
    if held_out is None and data.startswith("zoo:"):
        name = data.removeprefix("zoo:")
        return zoo.load_samples(name, split="train"), zoo.load_samples(name)
    known = open_samples(data)
    if held_out is not None:
        others = open_samples(held_out)
        if others.sha256 == known.sha256:
            raise UserError(
                "--held-out pictures that are not trained on",
                "those of --data",
                "leave --held-out out: a fifth of --data is kept back then",
            )
        return known, others
    order = Draws.keyed(seed, torch.arange(len(known))).at(_HELD_OUT).uniform(()).argsort()
    kept = round(SHARE_HELD_OUT * len(known))
    return _part(known, order[kept:], "train"), _part(known, order[:kept], "held out")


def _part(samples: Samples, index: torch.Tensor, name: str) -> Samples:
    index = index.sort().values
    return Samples.of(
        samples.x[index], samples.y[index], ids=[samples.ids[row] for row in index.tolist()],
        classes=samples.classes, name=f"{samples.name} ({name})",
    )  # fmt: skip


def harden(
    plan: Plan,
    wish: Wish,
    *,
    model: Classifier,
    data: tuple[Samples, Samples],
    progress: "Progress",
) -> Hardened:
    """Train a copy of `model` on the first part of `data`, audit both models on the second.

    Everything goes to `plan.out`: the weights, their card, the log, a run directory for each audit.
    Raises UserError for a folder that holds a run that is not to be resumed.
    """
    folder = Path(plan.out or "")
    known, others = data
    threat = ThreatModel.parse(plan.threats[0], model.bounds)
    checkpoint.claim(folder, resume=plan.resume)
    pupil = paired(wish.denoiser, model, known, seed=plan.seed) if wish.denoiser else model
    chosen = _recipe(folder, wish, pupil, known, plan)

    def watch(entry: Entry) -> None:
        progress.note(_line(entry, chosen.epochs))

    training = train(
        pupil, known, threat, chosen, seed=plan.seed, folder=folder,
        resume=plan.resume and (folder / checkpoint.NAME).exists(), watch=watch,
    )  # fmt: skip
    write_text(folder / "log.jsonl", "".join(f"{e.model_dump_json()}\n" for e in training.log))
    best = training.best
    if wish.denoiser:
        best, content = before_model(wish.denoiser, best, model, channels=int(known.x.shape[1]))
    else:
        content = save({key: value.contiguous() for key, value in _weights(best).items()})
    best.name, best.sha256 = f"hardened {model.name}", checkpoint.digest(content)
    logs = []
    for name, one in (("before", model), ("after", best)):
        place = folder / name
        part = {"out": str(place), "resume": (place / "ledger.jsonl").exists()}
        progress.note(f"audit {name}, on {others.name}")
        ordered = plan.model_copy(update=part)
        logs.append(conduct(ordered, model=one, samples=others, progress=progress))
    before, after = logs
    found = changes(before, after) if before.trusted and after.trusted else ()
    reasons = objections(training, before, after, limit=wish.max_clean_drop)
    weights = folder / (CANDIDATE if reasons else HARDENED)
    write_bytes(weights, content)
    made = Hardened(training, before, after, found, tuple(reasons), weights)
    write_text(folder / "MODEL-CARD.md", card(made, chosen, plan, model=model, data=data))
    return made


def objections(training: Training, before: AuditLog, after: AuditLog, *, limit: float) -> list[str]:
    """Why a model is not to be called hardened: accuracies on validation and in the audit.

    Robust accuracy has to rise on both, clean accuracy may fall by `limit` at most on both.
    """
    was, now = training.before, training.scores
    places = (
        ("validation", was.clean, now.clean, was.robust, now.robust),
        ("the audit", before.clean_accuracy, after.clean_accuracy, before.robust_accuracy,
         after.robust_accuracy),
    )  # fmt: skip
    found = []
    for place, clean, clean_after, robust, robust_after in places:
        if robust_after <= robust:
            found.append(
                f"robust accuracy did not rise in {place}: {robust:.1%} to {robust_after:.1%}"
            )
        if clean - clean_after > limit + 1e-9:
            found.append(
                f"clean accuracy fell in {place} from {clean:.1%} to {clean_after:.1%}, "
                f"more than {limit:.1%}"
            )
    gained = [e.scores for e in training.log if e.scores and e.scores.robust > was.robust]
    if now.robust <= was.robust and gained:
        most = max(gained, key=lambda one: one.robust)
        found.append(
            f"epochs that gained robust accuracy, up to {most.robust:.1%}, lost more than "
            f"{limit:.1%} of clean accuracy, down to {most.clean:.1%}"
        )
    if not after.trusted:
        found.append("the audit does not trust its number for the new model; see its findings")
    return found


def _recipe(folder: Path, wish: Wish, model: Classifier, data: Samples, plan: Plan) -> Recipe:
    """The recipe that the wish asks for; a run that goes on keeps the one it began with."""
    noted, wished = folder / "recipe.json", asdict(wish)
    if plan.resume and noted.exists():
        kept = json.loads(noted.read_text())
        other = [key.replace("_", "-") for key in wished if wished[key] != kept["wish"].get(key)]
        if other:
            raise UserError(
                "the flags that the run began with", f"another {', '.join(other)}", "give the same"
            )
        return Recipe(**kept["recipe"])
    threats = tuple(ThreatModel.parse(one, model.bounds) for one in plan.threats)
    if wish.seconds is None:
        several, width = len(threats) > 1, data.x.shape[-1]
        chosen = recipe(wish.recipe or "standard", threats[0], several=several, width=width)
    else:
        chosen = within(wish.seconds, model, data, threats, name=wish.recipe)
    changes: dict[str, Any] = {
        **(DENOISER if wish.denoiser else {}),
        "flip": wish.flip, "others": plan.threats[1:], "max_clean_drop": wish.max_clean_drop,
        "batch_size": 128 if len(data) > 4000 else 64,
    }  # fmt: skip
    if wish.epochs is not None:
        changes["epochs"] = wish.epochs
    written = (wish.recipe or "").partition(":")[2]
    chosen = tuned(chosen.model_copy(update=changes), written)
    write_text(noted, json.dumps({"wish": wished, "recipe": chosen.model_dump()}, indent=2))
    return chosen


def _weights(model: Classifier) -> dict[str, torch.Tensor]:
    return {key: value.detach().cpu() for key, value in model.module.state_dict().items()}


def _line(entry: Entry, epochs: int) -> str:
    """A log entry as a person reads it."""
    if entry.alarm:
        return f"  {entry.alarm} at step {entry.step}: {entry.remedy}"
    scores = entry.scores
    measured = f", clean {scores.clean:.1%}, robust {scores.robust:.1%}" if scores else ""
    warned = "".join(f", {one}" for one in warnings(entry))
    return (
        f"  epoch {entry.epoch}/{epochs} {entry.objective} eps {entry.eps:.3g}: "
        f"loss {entry.loss:.3f}{measured}{warned}"
    )


def facts(made: Hardened) -> dict[str, Any]:
    """What `--json` prints."""
    sides: Sequence[tuple[str, AuditLog]] = (("before", made.before), ("after", made.after))
    return {
        "hardened": not made.reasons,
        "reasons": list(made.reasons),
        "weights": str(made.weights),
        "status": made.training.status,
        "alarms": [
            {"step": entry.step, "alarm": entry.alarm, "remedy": entry.remedy}
            for entry in made.training.log
            if entry.alarm
        ],
        "warnings": [
            {"epoch": entry.epoch, "message": one}
            for entry in made.training.log
            for one in warnings(entry)
        ],
        "validation": {
            "before": made.training.before.model_dump(),
            "after": made.training.scores.model_dump(),
        },
        **{
            name: {
                "clean_accuracy": log.clean_accuracy,
                "robust_accuracy": log.robust_accuracy,
                "interval": log.interval,
                "samples": log.worst.samples,
                "trusted": log.trusted,
            }
            for name, log in sides
        },
        "changes": [
            {**one.model_dump(mode="json"), "difference": one.difference} for one in made.changes
        ],
    }
