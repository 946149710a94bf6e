"""What an objective is made of: pictures crafted with still weights, and a loss of them."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from robustkit.defenses.training.inner import Batch, Craft, followed, still
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

Objective = Callable[[Classifier, Batch, ThreatModel], Tensor]
"""`objective(model, batch, threat)`: the loss `[B]` to be minimised, with its graph."""

Loss = Callable[[Classifier, Batch, Tensor], Tensor]
"""`loss(model, batch, x_adv)`: the loss `[B]` of a batch whose pictures became `x_adv`."""


@dataclass(frozen=True)
class Assembly:
    """An objective whose parts can be taken apart again.

    With `batch_statistics` the attack sees batch norm as training has it, else as evaluation does.
    """

    craft: Craft
    loss: Loss
    batch_statistics: bool = True

    def pictures(self, model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
        """The pictures to learn from; the model is left as it was."""
        with still(model, batch_statistics=self.batch_statistics):
            return self.craft(followed(model), batch, threat)

    def __call__(self, model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
        """The loss `[B]` of what was crafted."""
        return self.loss(model, batch, self.pictures(model, batch, threat))


def hard(smoothing: float) -> Loss:
    """Cross-entropy on the crafted pictures alone, with label smoothing."""
    return lambda model, batch, x_adv: cross_entropy(model(x_adv), batch.y, smoothing)


def cross_entropy(logits: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of each sample, `[B]`."""
    return functional.cross_entropy(logits, y, reduction="none", label_smoothing=smoothing)
