"""What counts as success: leave the label, or reach a target, without being turned away."""

from typing import NamedTuple

import torch
from torch import Tensor


class Goal(NamedTuple):
    """`y` `[B]` is the true label; with `target` `[B]` success is that class and no other.

    `abstain` is the column of logits, always the last, that stands for giving no answer: a picture
    that is turned away has fooled nobody.

    >>> Goal(torch.tensor([0])).reached(torch.tensor([[1.0, 2.0]]))
    tensor([True])
    >>> Goal(torch.tensor([0]), abstain=2).reached(torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([False])
    """

    y: Tensor
    target: Tensor | None = None
    abstain: int | None = None

    @property
    def label(self) -> Tensor:
        """The class that losses speak of: the target if there is one, else the true label."""
        return self.y if self.target is None else self.target

    @property
    def sign(self) -> float:
        """Plus one if `label` is to be reached, minus one if it is to be left."""
        return -1.0 if self.target is None else 1.0

    def classes(self, logits: Tensor) -> Tensor:
        """The logits `[B, K]` of the classes alone: to abstain counts as the true label.

        The true label gets the higher one of its own logit and that of abstaining, so that any
        other class in front means to be wrong and to be accepted.
        """
        if self.abstain is None:
            return logits
        kept, refused = logits[:, : self.abstain], logits[:, self.abstain :]
        column = self.y[:, None]
        return kept.scatter(1, column, torch.maximum(kept.gather(1, column), refused))

    def reached(self, logits: Tensor) -> Tensor:
        """Whether the logits `[B, K]` are a success, `[B]` bool.

        Logits that are not finite count as success: a model that answers NaN has been fooled.
        """
        # Zero times a sum is zero exactly where every summand is finite.
        broken = logits.sum(1) * 0 != 0
        best = self.classes(logits).argmax(1)
        hit = best != self.y if self.target is None else best == self.target
        return hit | broken

    def take(self, index: Tensor) -> "Goal":
        """The goal of some of the samples."""
        target = None if self.target is None else self.target[index]
        return self._replace(y=self.y[index], target=target)

    def to(self, device: torch.device) -> "Goal":
        """The same goal on another device."""
        target = None if self.target is None else self.target.to(device)
        return self._replace(y=self.y.to(device), target=target)


def rivals(logits: Tensor, label: Tensor) -> Tensor:
    """Logits `[B, K]` with that of `label` at minus infinity."""
    return logits.scatter(1, label[:, None], -torch.inf)
