"""DnCNN: a plain stack of convolutions that learns the noise and takes it away."""

from torch import Tensor, nn


class DnCNN(nn.Module):
    """Zhang et al. 2017 (1608.03981): `depth` convolutions of `width` channels, batch norm between.

    Deviation: the last convolution begins at zero, so that training starts from the identity.
    """

    def __init__(self, channels: int, depth: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [
                nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            ]  # fmt: skip
        last = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.noise = nn.Sequential(*layers, last)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures `[B,C,H,W]` to pictures; values may leave [0, 1] a little."""
        noise: Tensor = self.noise(x)
        return x - noise


def dncnn(channels: int = 3, *, depth: int = 17, width: int = 64) -> DnCNN:
    """An untrained DnCNN, by default as published.

    >>> import torch
    >>> dncnn(1, depth=3, width=4)(torch.ones(1, 1, 5, 5)).sum().item()
    25.0
    """
    return DnCNN(channels, depth, width)
