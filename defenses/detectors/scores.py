"""Detectors that read the logits alone: maximum softmax probability, and energy."""

from typing import Self

from torch import Tensor

from robustkit.defenses.detectors.detector import Detector, Fitting
from robustkit.defenses.detectors.features import Seen
from robustkit.model import Classifier


class MaximumProbability(Detector):
    """How unsure the model is of its answer (Hendrycks & Gimpel 2017, arXiv 1610.02136).

    The negative logarithm of the highest probability, which does not round to zero.
    """

    name = "msp"

    @classmethod
    def fit(cls, data: Fitting) -> Self:
        """Nothing is fitted."""
        return cls()

    def judge(self, model: Classifier, seen: Seen) -> Tensor:
        """Minus the logarithm of the highest probability, `[B]`."""
        return -seen.logits.log_softmax(1).amax(1)


class Energy(Detector):
    """How little the logits say in sum (Liu et al. 2020, arXiv 2010.03759)."""

    name = "energy"

    @classmethod
    def fit(cls, data: Fitting) -> Self:
        """Nothing is fitted."""
        return cls()

    def judge(self, model: Classifier, seen: Seen) -> Tensor:
        """The free energy, minus the logarithm of the sum of exponentials, `[B]`."""
        return -seen.logits.logsumexp(1)
