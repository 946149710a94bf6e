"""Transforms of pictures before a model: each a stage that says how to attack through it.

All of them are broken when used alone (Athalye et al. 2018, arXiv 1802.00420): against an attacker
who knows of them they buy next to nothing. They are here to be measured, and as parts of more.
"""

from collections.abc import Callable

from robustkit.defenses.preprocess.bit_depth import bit_depth
from robustkit.defenses.preprocess.jpeg_compression import jpeg_compression
from robustkit.defenses.preprocess.resize_pad import random_resize_pad
from robustkit.defenses.preprocess.smoothing import gaussian_smoothing, median_smoothing
from robustkit.defenses.preprocess.total_variation import total_variation
from robustkit.defenses.stage import Stage

PREPROCESS: dict[str, Callable[..., Stage]] = {
    "jpeg": jpeg_compression,
    "bit-depth": bit_depth,
    "total-variation": total_variation,
    "median": median_smoothing,
    "gaussian-smoothing": gaussian_smoothing,
    "resize-pad": random_resize_pad,
}
"""By name: what builds the stage, with defaults for every setting."""
