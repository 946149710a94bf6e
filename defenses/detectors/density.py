"""Kernel density of the last features (Feinman et al. 2017, arXiv 1703.00410)."""

from typing import Self

import torch
from torch import Tensor

from robustkit.defenses.detectors.detector import Detector, Fitting
from robustkit.defenses.detectors.features import Seen, layers_of
from robustkit.model import Classifier

KEPT = 1000
"""Pictures that the density is made of."""
OTHER_CLASS = 1e4
"""What is taken from the exponent of a picture of another class: it counts for nothing."""


class KernelDensity(Detector):
    """How rare the features are among clean pictures of the class that the model answers.

    The width of a kernel is the median distance to the nearest neighbour.
    """

    name = "kernel-density"

    @classmethod
    def fit(cls, data: Fitting) -> Self:
        """Keep the features of clean pictures, before the last layer where there is such a one."""
        layers = layers_of(data.model, data.x)[-2:][:1]
        seen = data._replace(x=data.x[:KEPT], y=data.y[:KEPT]).seen(layers)
        features = seen.layers[0]
        apart = torch.cdist(features, features)
        apart.fill_diagonal_(torch.inf)
        tensors = {
            "features": features,
            "labels": data.y[:KEPT].to(features.device),
            "width": apart.amin(1).median().clamp_min(1e-6),
        }
        return cls(tensors, layers=layers)

    def judge(self, model: Classifier, seen: Seen) -> Tensor:
        """Minus the logarithm of the density, `[B]`."""
        apart = (seen.layers[0][:, None] - self.get_buffer("features")[None]).square().sum(2)
        exponent = -apart / (2 * self.get_buffer("width").square())
        other = self.get_buffer("labels")[None] != seen.logits.argmax(1)[:, None]
        return -(exponent - OTHER_CLASS * other).logsumexp(1)
