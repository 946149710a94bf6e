"""Losses per sample, `(logits [B, K], goal) -> [B]`: larger means nearer to the goal, always.

All of them are invariant to a shift of the logits; `margin` and `log-odds` never vanish where
softmax saturates. Few classes: DLR needs three (targeted: four) and falls back to the margin.
Where a model may abstain, all but `evasive` take that for the true label (`Goal.classes`).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from robustkit.errors import UserError
from robustkit.goal import Goal, rivals

Loss = Callable[[Tensor, Goal], Tensor]


def _of_label(logits: Tensor, goal: Goal) -> Tensor:
    return logits.gather(1, goal.label[:, None]).squeeze(1)


def _towards(goal: Goal, label: Tensor, others: Tensor) -> Tensor:
    return others - label if goal.target is None else label - others


def margin(logits: Tensor, goal: Goal) -> Tensor:
    """Difference of logits (Carlini & Wagner 2017, f6): positive exactly when the goal is reached.

    >>> import torch
    >>> margin(torch.tensor([[3.0, 1.0, 2.0]]), Goal(torch.tensor([0])))
    tensor([-1.])
    """
    logits = goal.classes(logits)
    return _towards(goal, _of_label(logits, goal), rivals(logits, goal.label).amax(1))


def gap(target: Tensor) -> Loss:
    """By how much the logit of `target` `[B]` exceeds the true label's.

    For a goal that has a target it is the margin, which is positive where that is reached.
    """

    def difference(logits: Tensor, goal: Goal) -> Tensor:
        """The difference of two logits, `[B]`."""
        if goal.target is not None:
            return margin(logits, goal)
        ends = torch.stack((goal.y, target), 1)
        return goal.classes(logits).gather(1, ends).diff(dim=1).squeeze(1)

    return difference


def log_odds(logits: Tensor, goal: Goal) -> Tensor:
    """Log odds of the label, log p - log(1 - p), with the goal's sign.

    Its gradient has the direction of cross-entropy's at every point, and it does not vanish when
    p rounds to one: the difference between a masked model and a robust one.
    """
    logits = goal.classes(logits)
    return _towards(goal, _of_label(logits, goal), rivals(logits, goal.label).logsumexp(1))


def cross_entropy(logits: Tensor, goal: Goal) -> Tensor:
    """Cross-entropy as published, vanishing where softmax saturates: for comparisons only."""
    return goal.sign * _of_label(goal.classes(logits).log_softmax(1), goal)


def dlr(logits: Tensor, goal: Goal) -> Tensor:
    """Difference of logits ratio (Croce & Hein 2020, eq. 6): the margin, whatever the scale.

    Invariant to shift and scale of the logits. With fewer than three classes (targeted: four)
    it is undefined and the margin takes its place. A goal with a target has eq. 7's denominator,
    but all other classes to beat: eq. 7 knows the true label alone (`dlr_towards`).
    """
    if is_degenerate("dlr", logits[:, : goal.abstain].shape[1], targeted=goal.target is not None):
        return margin(logits, goal)
    logits = goal.classes(logits)
    ahead = margin(logits, goal._replace(abstain=None))
    return ahead / _spread(logits, targeted=goal.target is not None)


def dlr_towards(target: Tensor) -> Loss:
    """Targeted DLR (Croce & Hein 2020, eq. 7): from the true label towards `target` `[B]`.

    A direction for an attacker to whom any wrong class will do; where the goal has a target of its
    own it is `dlr`.
    """
    ahead = gap(target)

    def loss(logits: Tensor, goal: Goal) -> Tensor:
        """The ratio, `[B]`."""
        if goal.target is not None:
            return dlr(logits, goal)
        if is_degenerate("dlr", logits[:, : goal.abstain].shape[1], targeted=True):
            return margin(logits, goal._replace(target=target))
        return ahead(logits, goal) / _spread(goal.classes(logits), targeted=True)

    return loss


def _spread(logits: Tensor, *, targeted: bool) -> Tensor:
    """The largest logit less the third, or less the mean of the third and the fourth, `[B]`."""
    ordered = logits.topk(4 if targeted else 3, 1).values
    return ordered[:, 0] - ordered[:, 2:].mean(1) + 1e-12


def probability_margin(logits: Tensor, goal: Goal) -> Tensor:
    """Difference of probabilities (PMA, arXiv 2411.15210)."""
    return margin(goal.classes(logits).softmax(1), goal._replace(abstain=None))


def excess(logits: Tensor, goal: Goal) -> Tensor:
    """How far the model is beyond the point where it abstains, `[B]`: positive where it does."""
    if goal.abstain is None:
        return logits.new_zeros(len(logits))
    return logits[:, goal.abstain] - logits[:, : goal.abstain].amax(1)


def evasive(weight: float) -> Loss:
    """The margin of the classes alone, less `weight` times what is too much for the detector.

    The weighted sum that broke ten detectors (Carlini & Wagner 2017, arXiv 1705.07263).
    """

    def loss(logits: Tensor, goal: Goal) -> Tensor:
        """Margin minus weighted excess, `[B]`."""
        alone = goal._replace(abstain=None)
        return margin(logits[:, : goal.abstain], alone) - weight * excess(logits, goal).clamp_min(0)

    return loss


def asked_more(logits: Tensor, goal: Goal, confidence: float) -> Tensor:
    """Logits that reach the goal exactly where `logits` do so with a margin above `confidence`.

    Kappa of Carlini & Wagner 2017, section VIII-D: what is sure of itself also transfers, and a
    detector of doubt lets it pass. A model that may abstain has to be as far from that.

    >>> asked_more(torch.tensor([[1.0, 2.0]]), Goal(torch.tensor([0])), 5.0)
    tensor([[6., 2.]])
    """
    if not confidence:
        return logits
    column = torch.arange(logits.shape[1], device=logits.device)
    own = column == goal.label[:, None]
    raised = own if goal.target is None else ~own
    if goal.abstain is not None:
        raised = raised | (column == goal.abstain)[None]
    return logits + confidence * raised


EVASIVE = (1.0, 0.3, 0.1, 0.03)
"""The weights of a detector that are tried, since nobody knows the one that works."""


def kl(belief: Tensor, logits: Tensor) -> Tensor:
    """KL(belief || softmax(logits)) of each sample, `[B]`; `belief` `[B,K]` are probabilities.

    >>> import torch
    >>> kl(torch.tensor([[0.5, 0.5]]), torch.zeros(1, 2))
    tensor([0.])
    """
    return kl_div(logits.log_softmax(1), belief, reduction="none").sum(1)


class _Named(dict[str, Loss]):
    """Losses by name; what is none of them is the user's error."""

    def __missing__(self, name: str) -> Loss:
        raise UserError(f"a loss: {', '.join(self)}", repr(name), "write for example loss=margin")


LOSSES: dict[str, Loss] = _Named(
    {
        "log-odds": log_odds,
        "cross-entropy": cross_entropy,
        "margin": margin,
        "dlr": dlr,
        "probability-margin": probability_margin,
        **{f"evasive-{weight:g}": evasive(weight) for weight in EVASIVE},
    }
)


def is_degenerate(loss: str, classes: int, *, targeted: bool) -> bool:
    """Whether `loss` falls back to the margin with that many classes."""
    return loss == "dlr" and classes < (4 if targeted else 3)
