"""Detectors: models that abstain where a picture looks attacked, calibrated on clean ones only.

>>> from robustkit.zoo import load_model, load_samples
>>> digits = load_samples("digits", split="train").take(300)
>>> detector = fitted("mahalanobis", load_model("digits-standard"), digits, false_alarms=0.05)
>>> detector.abstain(load_model("digits-standard"), digits.pixels(slice(0, 4))).shape
torch.Size([4])
"""

from robustkit.defenses.detectors.binary import BinaryDetector
from robustkit.defenses.detectors.density import KernelDensity
from robustkit.defenses.detectors.detector import FALSE_ALARMS, Detector, Fitting
from robustkit.defenses.detectors.features import Seen
from robustkit.defenses.detectors.intrinsic_dimension import IntrinsicDimension
from robustkit.defenses.detectors.mahalanobis import Mahalanobis
from robustkit.defenses.detectors.scores import Energy, MaximumProbability
from robustkit.defenses.detectors.squeezing import FeatureSqueezing
from robustkit.errors import UserError
from robustkit.loading.samples import Samples
from robustkit.model import Classifier

DETECTORS: dict[str, type[Detector]] = {
    one.name: one
    for one in (
        FeatureSqueezing, BinaryDetector, IntrinsicDimension, Mahalanobis, KernelDensity, Energy,
        MaximumProbability,
    )
}  # fmt: skip
"""By name."""


def fitted(
    name: str,
    model: Classifier,
    samples: Samples,
    *,
    false_alarms: float = FALSE_ALARMS,
    **settings: float,
) -> Detector:
    """The detector `name`, fitted on two thirds of clean `samples` and calibrated on the rest.

    `settings` are those of its `fit`. Raises UserError for another name.
    """
    if name not in DETECTORS:
        raise UserError(f"a detector: {', '.join(DETECTORS)}", repr(name), "write detector=msp")
    part = 2 * len(samples) // 3
    mine, rest = samples.pixels(slice(0, part)), samples.pixels(slice(part, None))
    with model.frozen():
        made = DETECTORS[name].fit(Fitting(model, mine, samples.y[:part]), **settings)
        return made.calibrate(model, rest, false_alarms=false_alarms)


__all__ = ["DETECTORS", "Detector", "Fitting", "Seen", "fitted"]
