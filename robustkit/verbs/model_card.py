"""The card that goes with weights: what was done to them, what it bought, what it cost."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from robustkit.report.numbers import percent, span
from robustkit.verbs.changes import lines
from robustkit.verbs.console import plain

if TYPE_CHECKING:
    from robustkit.audit.plan import Plan
    from robustkit.defenses.training.loop import Entry, Training
    from robustkit.defenses.training.recipe import Recipe
    from robustkit.loading import Samples
    from robustkit.model import Classifier
    from robustkit.records import AuditLog
    from robustkit.verbs.changes import Change


@dataclass(frozen=True)
class Hardened:
    """What came out; `reasons` say why it is not to be called hardened, if it is not.

    There are no `changes` where an audit does not trust its own number.
    """

    training: "Training"
    before: "AuditLog"
    after: "AuditLog"
    changes: "tuple[Change, ...]"
    reasons: tuple[str, ...]
    weights: Path


def warnings(entry: "Entry") -> tuple[str, ...]:
    """What the guards saw at the end of an epoch that is no reason to stop."""
    seen = []
    if entry.memorised:
        seen.append("robust accuracy is memorised: it is 15 points lower on other pictures")
    if entry.flattered:
        seen.append(
            "robust accuracy flatters: under the margin it is 3 points lower than under the loss "
            "that was trained against"
        )
    return tuple(seen)


def card(
    made: Hardened,
    recipe: "Recipe",
    plan: "Plan",
    *,
    model: "Classifier",
    data: "tuple[Samples, Samples]",
) -> str:
    """The model card in Markdown."""
    known, others = data
    threat = " and ".join(plan.threats)
    verdict = "Hardened" if not made.reasons else "NOT hardened"
    lines = [
        f"# {verdict}: {plain(model.name)} under {threat}",
        "",
        *(f"- Refused: {reason}." for reason in made.reasons),
        *([""] if made.reasons else []),
        "| | threat | n | clean | robust | 95 % interval |",
        "|---|---|---|---|---|---|",
    ]
    lines += [f"| {' | '.join(map(str, row))} |" for row in rows(made)]
    lines += ["", *_paired(made), "## How", ""]
    lines += [
        f"- from: {plain(model.name)}, weights sha256 `{model.sha256 or 'unknown'}`",
        f"- trained on: {plain(known.name)}, {len(known)} samples, sha256 `{known.sha256}`",
        f"- audited on: {plain(others.name)}, {made.after.worst.samples} samples, none trained on",
        f"- audit: {', '.join(plan.bouts[0].attacks)}; data sha256 `{made.after.data.sha256}`",
        f"- recipe: {', '.join(f'{key} {value}' for key, value in recipe.model_dump().items())}",
        f"- seed: {plan.seed}; training: {made.training.status}",
        f"- preprocessing inside the model: {model.preprocess.describe()}",
        *(
            f"- before the model, whose own weights are as they were: {plain(note)}; these weights "
            "are its own, to be read by `robustkit.defenses.denoise.stored.stage`"
            for note in made.after.model.notes
            if note.startswith("stage ")
        ),
        *(
            f"- alarm at step {entry.step}: {entry.alarm}; {entry.remedy}"
            for entry in made.training.log
            if entry.alarm
        ),
        *(f"- warning: {one} (epochs {when})" for one, when in _warned(made).items()),
    ]
    lines += [
        "",
        "## Limits",
        "",
        f"Robust means: under {threat} and the attacks of the suite, on data like these. Nothing",
        "is said of other norms, larger budgets, other data, or attacks yet to be found.",
    ]
    return "\n".join(lines) + "\n"


def _warned(made: Hardened) -> dict[str, str]:
    """Each warning, and the epochs at whose end it was seen."""
    seen: dict[str, list[str]] = {}
    for entry in made.training.log:
        for one in warnings(entry):
            seen.setdefault(one, []).append(str(entry.epoch))
    return {one: ", ".join(epochs) for one, epochs in seen.items()}


def rows(made: Hardened) -> list[tuple[str, str, int, str, str, str]]:
    """Before and after, under every threat: its name, n, clean and robust accuracy, interval."""
    found = []
    for name, log in (("before", made.before), ("after", made.after)):
        for one in log.threats:
            trusted = one.trusted
            robust = percent(one.robust_accuracy) if trusted else "untrusted"
            interval = span(one.interval) if trusted else ""
            clean = percent(one.clean_accuracy)
            found.append((name, one.threat, one.samples, clean, robust, interval))
    return found


def _paired(made: Hardened) -> list[str]:
    """What changed, sample by sample, and against which attacks."""
    if not made.changes:
        return []
    defended = any(note.startswith("stage ") for note in made.after.model.notes)
    harder = "After, the attacks know of the denoiser: there are more of them than before."
    return [*(f"- {line}" for line in lines(made.changes)), *([f"- {harder}"] * defended), ""]
