"""Feature squeezing: the answer must not depend on detail (Xu et al. 2018, arXiv 1704.01155)."""

from typing import Self

import torch
from torch import Tensor

from robustkit.defenses.bpda import followable
from robustkit.defenses.detectors.detector import Detector, Fitting
from robustkit.defenses.detectors.features import Seen
from robustkit.defenses.preprocess.bit_depth import bit_depth
from robustkit.defenses.preprocess.smoothing import median_smoothing
from robustkit.model import Classifier

SQUEEZERS = tuple(followable(stage) for stage in (bit_depth(bits=3), median_smoothing(size=3)))
"""Fewer bits and a median, each with a gradient that an attacker can follow."""


class FeatureSqueezing(Detector):
    """The largest change of the probabilities, as a sum of differences, under any squeezer."""

    name = "feature-squeezing"

    @classmethod
    def fit(cls, data: Fitting) -> Self:
        """Nothing is fitted."""
        return cls()

    def judge(self, model: Classifier, seen: Seen) -> Tensor:
        """The largest l1 distance of probabilities, `[B]` in [0, 2]."""
        plain = seen.logits.softmax(1)
        changes = [
            (model(squeeze(seen.x)).softmax(1) - plain).abs().sum(1) for squeeze in SQUEEZERS
        ]
        return torch.stack(changes).amax(0)
