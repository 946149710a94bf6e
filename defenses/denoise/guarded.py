"""A denoiser and the classifier behind it, as one network of which only the denoiser learns."""

from typing import Self

from torch import Tensor, nn

from robustkit.model import Classifier
from robustkit.preprocess import Preprocess


class Guarded(nn.Module):
    """`denoiser`, then `net` with its own preprocessing; takes pixels, returns logits.

    Whatever asks the whole to learn or to enter training mode reaches the denoiser only: the net
    keeps its weights and the statistics of its batch norm.
    """

    def __init__(self, denoiser: nn.Module, net: nn.Module, preprocess: Preprocess) -> None:
        super().__init__()
        self.denoiser, self.net, self.preprocess = denoiser, net, preprocess

    def forward(self, x: Tensor) -> Tensor:
        """Pixels `[B,C,H,W]` to logits `[B,K]`."""
        logits: Tensor = self.net(self.preprocess.apply(self.denoiser(x)))
        return logits

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Let the denoiser learn, or stop it; the net never does."""
        self.denoiser.requires_grad_(requires_grad)
        self.net.requires_grad_(False)
        return self

    def train(self, mode: bool = True) -> Self:
        """Training mode for the denoiser, evaluation mode for the net."""
        super().train(mode)
        self.net.train(False)
        return self

    def undefended(self, model: Classifier) -> Classifier:
        """The net alone, with what the classifier `model` around both says of itself."""
        return Classifier(
            self.net, preprocess=self.preprocess, bounds=model.bounds, device=model.device
        )


def guarded(denoiser: nn.Module, model: Classifier) -> Classifier:
    """A denoiser and a model, not copied, as one model to be trained by any objective."""
    pair = Guarded(denoiser, model.module, model.preprocess)
    return Classifier(
        pair, bounds=model.bounds, name=f"denoised {model.name}", sha256=model.sha256,
        source=model.source, classes=model.classes, notes=model.notes, device=model.device,
    )  # fmt: skip
