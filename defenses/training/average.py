"""The exponential moving average of a module's weights."""

import torch
from torch import Tensor, nn

State = dict[str, Tensor]


def copied(module: nn.Module) -> State:
    """A copy of everything in a module's state, on its device."""
    return {key: value.detach().clone() for key, value in module.state_dict().items()}


@torch.no_grad()
def average_(average: State, module: nn.Module, *, decay: float, step: int) -> None:
    """Move `average` towards the module after step `step`, counted from 1.

    Weights are averaged and buffers copied: averaged batch norm statistics lag behind, and shared
    ones would change under the average's feet. Early on the decay is smaller, (1 + t) / (10 + t).
    """
    decay = min(decay, (1 + step) / (10 + step))
    weights = {key for key, _ in module.named_parameters()}
    for key, value in module.state_dict().items():
        if key in weights and value.is_floating_point():
            average[key].lerp_(value, 1 - decay)
        else:
            average[key].copy_(value)
