"""The network of both zoo models."""

from torch import nn


def digits_net() -> nn.Sequential:
    """Untrained: `[B, 1, 8, 8]` to logits `[B, 10]`, three convolutions and an average over space.

    >>> sum(weight.numel() for weight in digits_net().parameters())
    56554
    """
    return nn.Sequential(
        *_convolution(1, 32, stride=1),
        *_convolution(32, 64, stride=2),
        *_convolution(64, 64, stride=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def _convolution(inputs: int, outputs: int, *, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]
