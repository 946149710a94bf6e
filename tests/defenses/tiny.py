"""Models and pictures small enough to work out by hand what training does with them."""

import torch
from torch import Tensor, nn

from robustkit.defenses.training.inner import Batch
from robustkit.model import Classifier

WEIGHT = torch.tensor([[3.0, -1.0, 0.5, 2.0], [0.0, 0.0, 0.0, 0.0]])


def linear(weight: Tensor = WEIGHT) -> Classifier:
    """Two classes over four pixels; no symmetry, so that a flipped sign shows."""
    layer = nn.Linear(weight.shape[1], len(weight), bias=False)
    layer.weight.data = weight.clone()
    return Classifier(nn.Sequential(nn.Flatten(), layer))


def normed() -> Classifier:
    """Three classes over 4 x 4 pixels, with a batch norm."""
    torch.manual_seed(0)
    return Classifier(
        nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
            nn.Linear(64, 3),
        )
    )  # fmt: skip


def a_batch(x: Tensor, y: Tensor) -> Batch:
    """A batch at the third step of seed 0."""
    return Batch(x, y, torch.arange(len(y)), seed=0, step=3)


def pictures(rows: int = 6) -> Batch:
    """Drawn pictures of 4 x 4 pixels of three classes."""
    torch.manual_seed(1)
    return a_batch(torch.rand(rows, 1, 4, 4), torch.arange(rows) % 3)


def grey(rows: int = 2) -> Batch:
    """Four grey pixels a picture, classes 0 and 1 in turn."""
    return a_batch(torch.full((rows, 1, 2, 2), 0.5), torch.arange(rows) % 2)
