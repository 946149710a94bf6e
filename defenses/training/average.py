"""The exponential moving average of a module's weights."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

State = dict[str, Tensor]


def copied(module: nn.Module) -> State:
    """A copy of everything in a module's state, on its device."""
    return {key: value.detach().clone() for key, value in module.state_dict().items()}


class Followed(NamedTuple):
    """The tensors of an average beside those of the module that it follows."""

    averages: list[Tensor]
    weights: list[Tensor]
    copies: list[Tensor]
    buffers: list[Tensor]

    @classmethod
    def of(cls, average: nn.Module, module: nn.Module) -> "Followed":
        """Those that training changes, of two modules alike.

        Found once and not by name at every step; a module that loads a state keeps its tensors.
        """
        pairs = zip(average.parameters(), module.parameters(), strict=True)
        learning = [(mean, weight) for mean, weight in pairs if weight.requires_grad]
        averages, weights = ([pair[side].detach() for pair in learning] for side in (0, 1))
        return cls(averages, weights, list(average.buffers()), list(module.buffers()))


@torch.no_grad()
def average_(followed: Followed, *, decay: float, step: int) -> None:
    """Move the average towards the module after step `step`, counted from 1.

    Weights are averaged and buffers copied: averaged batch norm statistics lag behind, and shared
    ones would change under the average's feet. Early on the decay is smaller, (1 + t) / (10 + t).
    """
    decay = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(followed.averages, followed.weights, 1 - decay)
    if followed.buffers:
        torch._foreach_copy_(followed.copies, followed.buffers)
