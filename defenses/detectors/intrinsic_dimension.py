"""Local intrinsic dimensionality of the features (Ma et al. 2018, arXiv 1801.02613).

Deviations: neighbours come from a fixed set of clean pictures, not from a random batch; the layers
are weighed by how far clean pictures spread, not by a regression on attacked ones.
"""

from typing import Self

import torch
from torch import Tensor

from robustkit.defenses.detectors.detector import Detector, Fitting
from robustkit.defenses.detectors.features import Seen, layers_of
from robustkit.model import Classifier

KEPT = 500
"""Pictures that neighbours are sought among."""
NEIGHBOURS = 20


class IntrinsicDimension(Detector):
    """How fast the distances to the nearest clean pictures grow, in several layers."""

    name = "lid"

    @classmethod
    def fit(cls, data: Fitting) -> Self:
        """Keep half of the pictures' features, and how the other half lies among them."""
        layers = layers_of(data.model, data.x)
        half = min(len(data.x) // 2, KEPT)
        tensors: dict[str, Tensor] = {}
        for place, features in enumerate(data.seen(layers).layers):
            usual = _dimension(features[half:], features[:half])
            tensors |= {
                f"features_{place}": features[:half],
                f"usual_{place}": torch.stack((usual.mean(), usual.std().clamp_min(1e-12))),
            }
        return cls(tensors, layers=layers)

    def judge(self, model: Classifier, seen: Seen) -> Tensor:
        """The mean over the layers of the dimension, standardised, `[B]`."""
        total = torch.zeros(len(seen.x), device=seen.logits.device)
        for place, features in enumerate(seen.layers):
            mean, deviation = self.get_buffer(f"usual_{place}")
            dimension = _dimension(features, self.get_buffer(f"features_{place}"))
            total = total + (dimension - mean) / deviation
        return total / len(seen.layers)


def _dimension(features: Tensor, among: Tensor) -> Tensor:
    """The maximum-likelihood estimate from the nearest of `among` `[N, D]`, `[B]` (eq. 4)."""
    apart = (features[:, None] - among[None]).square().sum(2).clamp_min(1e-12).sqrt()
    nearest = apart.topk(min(NEIGHBOURS, len(among)), dim=1, largest=False).values
    growth = (nearest / nearest[:, -1:]).log()
    return -1 / growth.mean(1).clamp_max(-1e-6)
