"""Defenses that are none, and honest models: each wraps the embedded digits network."""

import math

import torch
from torch import Tensor, nn

from robustkit.model import Classifier
from robustkit.zoo import load_model


class Scaled(nn.Module):
    """Logits times a constant: softmax saturates and cross-entropy has no gradient."""

    def __init__(self, net: nn.Module, factor: float) -> None:
        super().__init__()
        self.net, self.factor = net, factor

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x) * self.factor
        return out


class RoundedAnswer(nn.Module):
    """Probabilities rounded to two digits: no gradient anywhere."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return (self.net(x).softmax(1) * 100).round() / 100


class Quantised(nn.Module):
    """Input with two grey levels: the gradient stops at the rounding."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net((x > 0.5).float())
        return out


class Random(nn.Module):
    """Noise on the input at every call."""

    def __init__(self, net: nn.Module, sigma: float = 0.15) -> None:
        super().__init__()
        self.net, self.sigma = net, sigma

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x + self.sigma * torch.randn_like(x))
        return out


class Winners(nn.Module):
    """k-winners-take-all (Xiao et al. 2020) for a ReLU: the gradient jumps everywhere."""

    def __init__(self, share: float = 0.2) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        least = flat.topk(int(self.share * flat.shape[1]), 1).values[:, -1:]
        return (flat * (flat >= least)).reshape(x.shape)


def winners(net: nn.Module) -> nn.Module:
    """A network with its activations replaced, which it was not trained with."""
    parts = [Winners() if isinstance(part, nn.ReLU) else part for part in net.children()]
    return nn.Sequential(*parts)


class Detector(nn.Module):
    """Answers from the nearest grey levels of the data whenever a pixel lies between them."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        levels = (x.detach() * 4).round() / 4
        off = ((x * 16 - (x * 16).round()).abs().flatten(1).amax(1) > 1e-3)[:, None, None, None]
        out: Tensor = self.net(torch.where(off, levels, x))
        return out


class Deaf(nn.Module):
    """Adds to the logits what sends every gradient the wrong way, and changes no answer."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        decoy = -30 * logits
        out: Tensor = logits.detach() + decoy - decoy.detach()
        return out


class Softmax(nn.Module):
    """Probabilities for logits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x).softmax(1)
        return out


class Stubborn(nn.Module):
    """Dropout that goes on in evaluation mode."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.drop = net, nn.Dropout(0.1)

    def train(self, mode: bool = True) -> "Stubborn":
        super().train(mode)
        self.drop.train(True)
        return self

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(self.drop(x))
        return out


class Sociable(nn.Module):
    """Subtracts the mean of the batch: the answer depends on the neighbours."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x - 0.1 * x.mean(0, keepdim=True))
        return out


class SometimesNan(nn.Module):
    """NaN for dark pictures."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        dark = (x.flatten(1).mean(1) < 0.27)[:, None]
        return torch.where(dark, math.nan, self.net(x))


class Shuffled(nn.Module):
    """The classes numbered differently from the data's."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x).roll(3, 1)
        return out


def standard() -> nn.Module:
    """The embedded network that is easy to fool."""
    return load_model("digits-standard").module


def wrapped(module: nn.Module) -> Classifier:
    """A classifier for the audit."""
    return Classifier(module, name=type(module).__name__.lower())
