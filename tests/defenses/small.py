"""Parts of defenses that are small enough to see through."""

from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from robustkit.defenses.detectors.detector import Detector, Fitting
from robustkit.defenses.detectors.features import Seen
from robustkit.defenses.stage import Stage
from robustkit.model import Classifier

BLACK_AND_WHITE = Stage(
    "bit-depth", lambda x: (x > 0.5).float(),
    surrogate=lambda x: torch.sigmoid(10 * (x - 0.5)), settings={"bits": 1},
)  # fmt: skip
SIX_BITS = Stage("bit-depth", lambda x: (x * 63).round() / 63, surrogate=lambda x: x)
"""Harmless: the embedded digits have 17 levels."""
DARKER = Stage("darker", lambda x: 0.9 * x)


def _resized(x: Tensor) -> Tensor:
    side = int(torch.randint(6, 9, ()))
    room = 8 - side
    left, top = (int(torch.randint(0, room + 1, ())) for _ in range(2))
    small = functional.interpolate(x, (side, side), mode="bilinear", align_corners=False)
    return functional.pad(small, (left, room - left, top, room - top))


RESIZED = Stage("resize-pad", _resized, random=True)


class Brightness(Detector):
    """Turns bright pictures away: a score that everybody can compute."""

    name = "brightness"

    @classmethod
    def fit(cls, data: Fitting) -> Self:
        return cls()

    def judge(self, model: Classifier, seen: Seen) -> Tensor:
        return seen.x.flatten(1).mean(1)
