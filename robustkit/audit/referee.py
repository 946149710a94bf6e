"""The referee recomputes every claim on the user's own model: only its verdict is counted."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from robustkit.attacks.parts.elsewhere import DRAWS
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.threat import ThreatModel


@dataclass(frozen=True)
class Ruling:
    """What holds, every tensor `[N]` on the host.

    `fooled`: label, bounds and budget all hold on a fresh forward. `lost` are claims that did not
    hold; `eight_bit` are successes that survive rounding to 8-bit pixels.
    """

    fooled: Tensor
    lost: Tensor
    eight_bit: Tensor
    prediction: Tensor
    confidence: Tensor
    size: Tensor


def predict(model: Classifier, x: Tensor, batch_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions, confidences and whether all logits are finite, each `[N]` on the host.

    A model that draws random numbers on purpose is asked `DRAWS` times, and what it says most often
    counts, so that neither side wins by one lucky draw; confidence is the mean probability of that.
    """
    draws = DRAWS if model.random else 1
    labels, confidences, finite = [], [], []
    with torch.no_grad():
        for part in x.split(batch_size):
            answers = torch.stack([model(part.to(model.device)) for _ in range(draws)])
            finite.append(answers.isfinite().all(2).all(0).cpu())
            sure = answers.softmax(2).mean(0).nan_to_num(0.0)
            votes = one_hot(answers.argmax(2), answers.shape[2]).sum(0)
            # Of two that are said as often the surer one counts.
            label = (votes + sure / 2).argmax(1)
            labels.append(label.cpu())
            confidences.append(sure.gather(1, label[:, None]).squeeze(1).cpu())
    return torch.cat(labels), torch.cat(confidences), torch.cat(finite)


def confirms(model: Classifier, x_adv: Tensor, goal: Goal) -> Tensor:
    """Whether fresh answers to `x_adv` `[B,C,H,W]` say that the goal is reached, `[B]` on the host.

    For attacks on models that draw random numbers, before they take one answer for a success.
    """
    prediction, _, finite = predict(model, x_adv, len(x_adv))
    return _reached(prediction, finite, goal.to(torch.device("cpu")))


def rule(
    model: Classifier,
    x_adv: Tensor,
    *,
    x: Tensor,
    goal: Goal,
    threat: ThreatModel,
    claimed: Tensor,
    batch_size: int,
) -> Ruling:
    """Judge adversarial pictures `x_adv` `[N,C,H,W]` against their originals, all on the host.

    A success is one that the model itself confirms in evaluation mode, inside bounds and budget.
    """
    prediction, confidence, finite = predict(model, x_adv, batch_size)
    allowed = threat.violation(x_adv, x) == 0
    fooled = _reached(prediction, finite, goal) & allowed
    # Where nothing was changed nothing is rounded: pictures need not be of 8 bits themselves.
    rounded = torch.where(x_adv == x, x, eight_bit(x_adv, x).float() / 255)
    label, _, solid = predict(model, rounded, batch_size)
    within = threat.violation(rounded, x) == 0
    kept = fooled & _reached(label, solid, goal) & within
    size = threat.size(x_adv, x)
    return Ruling(fooled, claimed & ~fooled, kept, prediction, confidence, size)


def retraced(
    ruling: Ruling,
    x_adv: Tensor,
    made: Tensor | None,
    *,
    model: Classifier,
    x: Tensor,
    threat: ThreatModel,
    batch_size: int,
) -> Ruling:
    """The ruling under a threat without a norm: pictures must come of what made them.

    Each is made again from `made` `[N, ...]` on the model's device; where the budget does not allow
    that, or another picture comes out, there is no success. Under any other threat nothing changes.
    """
    if threat.transform is None:
        return ruling
    if made is None:
        none = torch.zeros_like(ruling.fooled)
        return replace(ruling, fooled=none, lost=ruling.fooled | ruling.lost, eight_bit=none)
    off = []
    for rows in torch.arange(len(x)).split(batch_size):
        parts = (part[rows].to(model.device) for part in (x_adv, x, made))
        off.append(threat.take(rows).departure(*parts).cpu())
    honest = torch.cat(off) == 0
    return replace(
        ruling,
        fooled=ruling.fooled & honest,
        lost=ruling.lost | (ruling.fooled & ~honest),
        eight_bit=ruling.eight_bit & honest,
        size=threat.transform.size(made, threat.limits),
    )


def _reached(prediction: Tensor, finite: Tensor, goal: Goal) -> Tensor:
    hit = (prediction == goal.label) == (goal.target is not None)
    return (hit & (prediction != (-1 if goal.abstain is None else goal.abstain))) | ~finite


def eight_bit(x_adv: Tensor, x: Tensor) -> Tensor:
    """Pixels as uint8, each rounded towards the original, so that no change grows.

    >>> eight_bit(torch.tensor([0.5, 0.5, 0.5]), torch.tensor([0.0, 1.0, 0.5])).tolist()
    [127, 128, 128]
    """
    levels = x_adv.double() * 255
    # What lies on a level up to float32 rounding stays there.
    down, up = (levels + 1e-4).floor(), (levels - 1e-4).ceil()
    rounded = torch.where(x_adv > x, down, torch.where(x_adv < x, up, levels.round()))
    return rounded.clamp(0, 255).to(torch.uint8)
