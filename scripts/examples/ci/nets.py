"""The network of both models."""

from torch import nn


def make() -> nn.Module:
    """Untrained: `[B, 1, 8, 8]` to logits `[B, 10]`."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
