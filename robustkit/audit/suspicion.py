"""Reasons to doubt a number, looked for before and after the attacks.

The indicators are those of Pintor et al. 2022 (2106.09947) and the flags of AutoAttack, with
checks that neither has. What can be repaired is repaired by the trials (`trials.py`).
"""

from unittest import mock

import torch
from torch import Tensor

from robustkit.attacks import info
from robustkit.audit import adaptive
from robustkit.audit.device import halving
from robustkit.audit.findings import finding
from robustkit.audit.plan import Bout
from robustkit.audit.standing import Clean, Standing
from robustkit.audit.statistics import clopper_pearson
from robustkit.draws import Draws
from robustkit.errors import RefusedError
from robustkit.goal import Goal
from robustkit.loading.samples import Samples
from robustkit.losses import cross_entropy, is_degenerate, margin
from robustkit.model import Classifier
from robustkit.records import Finding

PROBED = 16
"""Pictures that the probes look at."""
RANDOM = 1e-4
"""Relative difference of logits between two calls above which a model is random."""
BATCH = 1e-3
ROUGH_NOISE = 4 / 255
ROUGH = 0.1
ONE_STEP = 0.01
BLACK_BOX, MISLED = 0.01, 0.1
"""Shares that a black box takes from gradients by chance, and only where they mislead."""
ROUNDED_OFF = 0.5


def check_labels(samples: Samples, classes: int) -> None:
    """Refuse labels that the model has no output for."""
    highest = int(samples.y.max())
    if highest >= classes:
        where = int((samples.y >= classes).nonzero()[0])
        raise RefusedError(
            f"labels from 0 to {classes - 1}, as the model has {classes} outputs",
            f"label {int(samples.y[where])} of sample {samples.ids[where]} in {samples.name}",
            "check that model and data speak of the same classes",
        )


def before(model: Classifier, samples: Samples, clean: Clean) -> list[Finding]:
    """Findings about the model alone, from the clean pass and a few probes; it must be frozen."""
    right = clean.right(samples.y)
    rows = right.nonzero().squeeze(1)[:PROBED]
    found = _modes(model) + _answers(samples, clean)
    if len(rows):
        x, y = samples.pixels(rows).to(model.device), samples.y[rows].to(model.device)
        # Where memory runs out fewer pictures are probed.
        found += halving(lambda n: _probed(model, x[:n], y[:n]), len(rows))[0]
    if any("no preprocessing" in note for note in model.notes):
        found.append(finding("RK-PREPROCESS", "No preprocessing was given, so none was applied."))
    return found


def _probed(model: Classifier, x: Tensor, y: Tensor) -> list[Finding]:
    if model.access != "white-box":
        return _probes(model, x)
    looks = _probes(model, x) + _dynamic(model, x)
    # What a defense hides from an attacker who knows it is looked at, not what it shows.
    followed = adaptive.followed(model)
    return looks + _gradients(followed, x, y) + _rough(followed, x, y)


def _modes(model: Classifier) -> list[Finding]:
    stuck = [name or "the model" for name, part in model.module.named_modules() if part.training]
    if not stuck:
        return []
    return [finding("RK-TRAIN-MODE", f"{len(stuck)} modules stay in training mode: {stuck[0]}")]


def _answers(samples: Samples, clean: Clean) -> list[Finding]:
    found = []
    broken = int((~clean.finite).sum())
    if broken:
        found.append(
            finding(
                "RK-NONFINITE",
                f"{broken} of {len(samples)} clean pictures get NaN or infinite logits; they "
                "count as misclassified.",
                count=broken,
            )
        )
    correct = int(clean.right(samples.y).sum())
    chance = 1 / clean.classes
    low, _ = clopper_pearson(correct, len(samples))
    if len(samples) >= 2 * clean.classes and low <= chance:
        found.append(
            finding(
                "RK-CHANCE",
                f"Clean accuracy is {correct}/{len(samples)}, and guessing gives {chance:.1%}.",
                correct=correct,
                samples=len(samples),
            )
        )
    return found


def _probes(model: Classifier, x: Tensor) -> list[Finding]:
    """Random answers, answers that depend on the batch, probabilities instead of logits."""
    found = []
    with torch.no_grad():
        once, again = model(x), model(x)
        alone = torch.cat([model(part) for part in x.split(1)])
    scale = once.abs().amax().clamp_min(1e-12)
    change = float((once - again).abs().amax() / scale)
    if change > RANDOM:
        message = f"Two calls on the same pictures differ by {change:.1e} of the largest logit."
        found.append(finding("RK-RANDOM", message, change=change))
    elif float((once - alone).abs().amax() / scale) > BATCH:
        share = float((once - alone).abs().amax() / scale)
        message = f"A picture alone gets logits that differ by {share:.1e} from those in a batch."
        found.append(finding("RK-BATCH", message, change=share))
    if float((once.sum(1) - 1).abs().amax()) < 1e-5 and float(once.amin()) >= 0:
        found.append(finding("RK-SOFTMAX", "Outputs are non-negative and sum to one."))
    return found


def _dynamic(model: Classifier, x: Tensor) -> list[Finding]:
    """Whether a forward pass takes gradients itself (AutoAttack's dynamic defenses)."""
    with (
        torch.no_grad(),
        mock.patch.object(torch.autograd, "grad", wraps=torch.autograd.grad) as grad,
        mock.patch.object(torch.autograd, "backward", wraps=torch.autograd.backward) as backward,
    ):
        model(x[:2])
    calls = grad.call_count + backward.call_count
    if not calls:
        return []
    return [finding("RK-DYNAMIC", f"One forward pass took {calls} gradients itself.", calls=calls)]


def _gradients(model: Classifier, x: Tensor, y: Tensor) -> list[Finding]:
    """Zero gradients of the margin (masked) and of cross-entropy alone (saturated)."""
    zero = {}
    for name, loss in (("margin", margin), ("cross-entropy", cross_entropy)):
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            gradient = model.gradient(loss(model(point), Goal(y, abstain=model.abstain)), point)
        zero[name] = int((gradient.flatten(1).abs().amax(1) == 0).sum())
    if zero["margin"]:
        message = f"{zero['margin']} of {len(x)} probed pictures have no gradient at all."
        return [finding("RK-ZERO-GRADIENT", message, zero=zero["margin"], probed=len(x))]
    if zero["cross-entropy"]:
        count = zero["cross-entropy"]
        message = f"Cross-entropy has no gradient on {count} of {len(x)} probed pictures."
        return [finding("RK-SATURATED", message, zero=count, probed=len(x))]
    return []


def _rough(model: Classifier, x: Tensor, y: Tensor) -> list[Finding]:
    """Indicator 2 of Pintor et al.: how much noise of 4/255 changes the margin, at most 1."""
    noise = 2 * Draws.keyed(0, torch.arange(len(x))).uniform(x.shape[1:]).to(x) - 1
    with torch.no_grad():
        goal = Goal(y, abstain=model.abstain)
        here = margin(model(x), goal)
        there = margin(model((x + ROUGH_NOISE * noise).clamp(*model.bounds)), goal)
    change = float(((here - there).abs() / here.abs().clamp_min(1e-12)).clamp_max(1).mean())
    if change <= ROUGH:
        return []
    message = f"Noise of 4/255 changes the margin of {len(x)} pictures by {change:.0%} on average."
    return [finding("RK-UNSTABLE", message, change=change)]


def after(standing: Standing, bout: Bout, clean: Clean) -> list[Finding]:
    """Findings from what the attacks did under one threat."""
    found = []
    attacks = list(bout.attacks)
    tallies = standing.tallies
    lost = sum(tally.lost for tally in tallies.values())
    fooled = sum(tally.fooled for tally in tallies.values())
    if lost:
        message = f"{lost} of {lost + fooled} claimed successes were not confirmed."
        found.append(finding("RK-LOST-CLAIMS", message, threat=standing.threat, lost=lost))
    rounded = sum(tally.rounded_off for tally in tallies.values())
    if rounded > ROUNDED_OFF * max(fooled, 1):
        message = f"{rounded} of {fooled} successes vanish when pixels are rounded to 8 bits."
        found.append(finding("RK-EIGHT-BIT", message, threat=standing.threat, rounded=rounded))
    if any(
        "dlr" in text and is_degenerate("dlr", clean.classes, targeted=False) for text in attacks
    ):
        message = f"The model has {clean.classes} classes; the margin loss took DLR's place."
        found.append(finding("RK-FEW-CLASSES", message, threat=standing.threat))
    if not bout.cascade:
        found += _one_step(standing)
    found += _black_box(standing, attacks)
    return found


def _one_step(standing: Standing) -> list[Finding]:
    """FGSM against the best iterated attack, where each was measured alone."""
    once = standing.tallies.get("fgsm")
    many = [tally.fooled for text, tally in standing.tallies.items() if text != "fgsm"]
    if once is None or not many or once.fooled - max(many) <= ONE_STEP * standing.reached:
        return []
    message = f"FGSM fooled {once.fooled}, the strongest iterated attack {max(many)}."
    return [finding("RK-ONE-STEP", message, threat=standing.threat)]


def _black_box(standing: Standing, attacks: list[str]) -> list[Finding]:
    """Samples that a black box broke after gradient attacks had left them."""
    white = [name for name in attacks if info(name.partition(":")[0]).access == "white-box"]
    broken = 0
    for text in attacks:
        if info(text.partition(":")[0]).access in ("scores", "decisions"):
            broken += sum(name == text for name in standing.attack[: standing.reached])
    if not white or broken <= BLACK_BOX * max(standing.reached, 1):
        return []
    message = f"Black-box attacks broke {broken} pictures that the gradient attacks had left."
    # One step is no attack that has been given its chance.
    misled = broken > MISLED * standing.reached and any(name != "fgsm" for name in white)
    return [
        finding(
            "RK-BLACK-BOX", message, threat=standing.threat,
            severity="high" if misled else "medium", broken=broken,
        )
    ]  # fmt: skip
