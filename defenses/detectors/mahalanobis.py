"""Mahalanobis distance to the nearest class, in several layers (Lee et al. 2018, 1807.03888).

Deviations: the layers are weighed by how far clean pictures spread, not by a regression on
attacked ones; the input is not preprocessed.
"""

from typing import Self

import torch
from torch import Tensor

from robustkit.defenses.detectors.detector import Detector, Fitting
from robustkit.defenses.detectors.features import Seen, layers_of
from robustkit.model import Classifier
from robustkit.precision import exact

SHRINKAGE = 0.1
"""Share of the covariance that is replaced by a multiple of the identity."""


class Mahalanobis(Detector):
    """How far the features are from those of every class, under one covariance for all."""

    name = "mahalanobis"

    @classmethod
    def fit(cls, data: Fitting) -> Self:
        """Means of the classes and their common covariance, layer by layer."""
        layers = layers_of(data.model, data.x)
        tensors: dict[str, Tensor] = {}
        y = data.y.to(data.model.device)
        for place, features in enumerate(data.seen(layers).layers):
            means = torch.stack([features[y == label].mean(0) for label in y.unique()])
            own = means[torch.searchsorted(y.unique(), y)]
            whitened = _whitening(features - own)
            distance = _distance(features, means, whitened)
            tensors |= {
                f"means_{place}": means,
                f"whitening_{place}": whitened,
                f"usual_{place}": torch.stack((distance.mean(), distance.std().clamp_min(1e-12))),
            }
        return cls(tensors, layers=layers)

    def judge(self, model: Classifier, seen: Seen) -> Tensor:
        """The mean over the layers of the squared distance, standardised, `[B]`."""
        total = torch.zeros(len(seen.x), device=seen.logits.device)
        for place, features in enumerate(seen.layers):
            means = self.get_buffer(f"means_{place}")
            mean, deviation = self.get_buffer(f"usual_{place}")
            distance = _distance(features, means, self.get_buffer(f"whitening_{place}"))
            total = total + (distance - mean) / deviation
        return total / len(seen.layers)


def _whitening(centred: Tensor) -> Tensor:
    """A matrix `[D, D]` that makes the covariance of `centred` `[N, D]` the identity."""
    centred = exact(centred)
    covariance = centred.T @ centred / len(centred)
    scale = covariance.diagonal().mean().clamp_min(1e-12)
    eye = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * scale * eye
    root: Tensor = torch.linalg.cholesky(shrunk)
    return root.inverse().T.float()


def _distance(features: Tensor, means: Tensor, whitening: Tensor) -> Tensor:
    """The squared distance to the nearest class, `[B]`."""
    away = (features @ whitening)[:, None] - (means @ whitening)[None]
    return away.square().sum(2).amin(1)
