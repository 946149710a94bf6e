"""The same model with other weights, or looked at without leaving a trace in its buffers."""

import copy
from collections.abc import Mapping

from torch import Tensor, nn
from torch.func import functional_call

from robustkit.model import Classifier


class _Aside(nn.Module):
    """A module called with a state that is not its own; the module is not registered here."""

    def __init__(self, module: nn.Module, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        # In a tuple, or the module's weights would be this one's as well.
        self.own = module, dict(state)

    def forward(self, x: Tensor) -> Tensor:
        """What the module says with the other state."""
        logits: Tensor = functional_call(*self.own, (x,))
        return logits


def moved(model: Classifier, weights: Mapping[str, Tensor]) -> Classifier:
    """The classifier with some of its weights replaced; its buffers are written as ever.

    Where the new weights are functions of the old ones, gradients reach the old ones.
    """
    other = copy.copy(model)
    other.module = _Aside(model.module, weights)
    return other


def traceless(model: Classifier) -> Classifier:
    """The classifier in the mode it is in, writing into copies of its buffers."""
    return moved(model, {name: one.clone() for name, one in model.module.named_buffers()})
