"""What counts as success: leave the label, or reach a target."""

from typing import NamedTuple

import torch
from torch import Tensor


class Goal(NamedTuple):
    """`y` `[B]` is the true label; with `target` `[B]` success is that class and no other.

    >>> Goal(torch.tensor([0])).reached(torch.tensor([[1.0, 2.0]]))
    tensor([True])
    """

    y: Tensor
    target: Tensor | None = None

    @property
    def label(self) -> Tensor:
        """The class that losses speak of: the target if there is one, else the true label."""
        return self.y if self.target is None else self.target

    @property
    def sign(self) -> float:
        """Plus one if `label` is to be reached, minus one if it is to be left."""
        return -1.0 if self.target is None else 1.0

    def reached(self, logits: Tensor) -> Tensor:
        """Whether the logits `[B, K]` are a success, `[B]` bool.

        Logits that are not finite count as success: a model that answers NaN has been fooled.
        """
        # Zero times a sum is zero exactly where every summand is finite.
        broken = logits.sum(1) * 0 != 0
        best = logits.argmax(1)
        hit = best != self.y if self.target is None else best == self.target
        return hit | broken

    def take(self, index: Tensor) -> "Goal":
        """The goal of some of the samples."""
        return Goal(self.y[index], None if self.target is None else self.target[index])

    def to(self, device: torch.device) -> "Goal":
        """The same goal on another device."""
        return Goal(self.y.to(device), None if self.target is None else self.target.to(device))


def rivals(logits: Tensor, label: Tensor) -> Tensor:
    """Logits `[B, K]` with that of `label` at minus infinity."""
    return logits.scatter(1, label[:, None], -torch.inf)
