"""The card that goes with weights: what was done to them, what it bought, what it cost."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from robustkit.report.numbers import percent, span
from robustkit.verbs.console import plain

if TYPE_CHECKING:
    from robustkit.audit.plan import Plan
    from robustkit.defenses.training.loop import Training
    from robustkit.defenses.training.recipe import Recipe
    from robustkit.loading import Samples
    from robustkit.model import Classifier
    from robustkit.records import AuditLog, ComparisonRecord


@dataclass(frozen=True)
class Hardened:
    """What came out; `reasons` say why it is not to be called hardened, if it is not."""

    training: "Training"
    before: "AuditLog"
    after: "AuditLog"
    comparison: "ComparisonRecord | None"
    reasons: tuple[str, ...]
    weights: Path


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
    threat = plan.threats[0]
    verdict = "Hardened" if not made.reasons else "NOT hardened"
    lines = [
        f"# {verdict}: {plain(model.name)} under {threat}",
        "",
        *(f"- Refused: {reason}." for reason in made.reasons),
        *([""] if made.reasons else []),
        f"| | n | clean | robust under {threat} | 95 % interval |",
        "|---|---|---|---|---|",
    ]
    for name, log in (("before", made.before), ("after", made.after)):
        robust = percent(log.robust_accuracy) if log.trusted else "untrusted"
        interval = span(log.interval) if log.trusted else ""
        lines.append(
            f"| {name} | {log.worst.samples} | {percent(log.clean_accuracy)} | {robust} "
            f"| {interval} |"
        )
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
            f"- alarm at step {entry.step}: {entry.alarm}; {entry.remedy}"
            for entry in made.training.log
            if entry.alarm
        ),
    ]
    lines += [
        "",
        "## Limits",
        "",
        f"Robust means: under {threat} and the attacks of the suite, on data like these. Nothing",
        "is said of other norms, larger budgets, other data, or attacks yet to be found.",
    ]
    return "\n".join(lines) + "\n"


def _paired(made: Hardened) -> list[str]:
    one = made.comparison
    if one is None:
        return []
    return [
        f"Sample by sample: {one.gained} became robust, {one.lost} no longer are.",
        "",
    ]
