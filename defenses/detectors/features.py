"""What a model does inside with a picture: the outputs of some of its layers, pooled over space."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from robustkit.model import Classifier

MOST = 4
"""Layers that are looked into where a detector does not say which."""


class Seen(NamedTuple):
    """Pictures, the model's logits `[B, K]`, and the features `[B, D]` of each layer."""

    x: Tensor
    logits: Tensor
    layers: tuple[Tensor, ...] = ()


def see(model: Classifier, x: Tensor, layers: Sequence[str] = ()) -> Seen:
    """One forward, and the outputs of the modules named `layers`; differentiable in `x`."""
    caught: dict[str, Tensor] = {}
    parts = dict(model.module.named_modules())
    hooks = [parts[name].register_forward_hook(_keeper(caught, name)) for name in layers]
    try:
        logits = model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return Seen(x, logits, tuple(caught[name] for name in layers))


def _keeper(caught: dict[str, Tensor], name: str) -> Any:
    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            caught[name] = pooled(output)

    return keep


def pooled(output: Tensor) -> Tensor:
    """A layer's output as `[B, D]`: maps are averaged over space, token rows over tokens."""
    if output.dim() == 3:
        return output.mean(1).float()
    return (output.flatten(2).mean(2) if output.dim() > 3 else output).float()


def layers_of(model: Classifier, x: Tensor, most: int = MOST) -> tuple[str, ...]:
    """The names of up to `most` layers with weights, evenly spread over the depth, the last one in.

    Only layers count that run once for every picture of `x`; the model must be frozen.
    """
    names = [
        name
        for name, part in model.module.named_modules()
        if isinstance(part, (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.LayerNorm))
    ]
    caught: dict[str, Tensor] = {}
    parts = dict(model.module.named_modules())
    hooks = [parts[name].register_forward_hook(_keeper(caught, name)) for name in names]
    try:
        with torch.no_grad():
            model(x[:2].to(model.device))
    finally:
        for hook in hooks:
            hook.remove()
    able = [name for name in caught if caught[name].dim() == 2 and len(caught[name]) == len(x[:2])]
    places = torch.linspace(0, len(able) - 1, min(most, len(able))).round().long().tolist()
    return tuple(able[place] for place in dict.fromkeys(places))
