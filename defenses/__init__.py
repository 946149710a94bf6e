"""Defenses: ways to make a model harder to fool, each measured by the same audit.

The folder lies at the top of the tree and imports as `robustkit.defenses`.
"""

if __name__ != "robustkit.defenses":
    raise ImportError(f"import robustkit.defenses, not {__name__}")

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from robustkit.defenses.denoise import DENOISERS
from robustkit.defenses.detectors import DETECTORS
from robustkit.defenses.gradient_smoothing import gradient_smoothing
from robustkit.defenses.ibp import certify as ibp_certify
from robustkit.defenses.patch_cleanser import cleanser
from robustkit.defenses.postprocess import POSTPROCESS
from robustkit.defenses.preprocess import PREPROCESS
from robustkit.defenses.smoothing import certify
from robustkit.defenses.training.objectives import OBJECTIVES


@dataclass(frozen=True)
class DefenseInfo:
    """A catalogue row: what a defense is, what it costs and who proposed it.

    `kind`: "training" (an objective), "certificate", "denoiser", "detector", "postprocess", or
    "transform" (a stage), which is broken when used alone where it says so. `cost` is in forwards
    and backwards a picture and epoch, or what else it takes.
    """

    name: str
    build: Callable[..., Any]
    kind: str
    cost: str
    paper: str


_PAPERS = {
    "pgd-at": ("11 forwards and backwards", "Madry et al. 2018, arXiv 1706.06083"),
    "pgd-2": ("3 forwards and backwards", "Madry et al. 2018, arXiv 1706.06083"),
    "fgsm-rs": ("2 forwards and backwards", "Wong et al. 2020, arXiv 2001.03994"),
    "n-fgsm": ("2 forwards and backwards", "de Jorge et al. 2022, arXiv 2202.01181"),
    "trades": ("13 forwards, 12 backwards", "Zhang et al. 2019, arXiv 1901.08573"),
    "gaussian": ("1 forward and backward", "Cohen et al. 2019, arXiv 1902.02918"),
    "mart": ("12 forwards and backwards", "Wang et al. 2020, ICLR"),
    "free": ("1 forward and backward a replay", "Shafahi et al. 2019, arXiv 1904.12843"),
    "grad-align": (
        "4 forwards and backwards, one of them twice",
        "Andriushchenko & Flammarion 2020, arXiv 2007.02617",
    ),
    "awp": ("12 forwards and backwards", "Wu et al. 2020, arXiv 2004.05884"),
    "trades-awp": ("15 forwards, 14 backwards", "Wu et al. 2020, arXiv 2004.05884"),
    "distill": ("13 forwards, 12 backwards", "Hinton et al. 2015, arXiv 1503.02531"),
    "max-at": ("11 forwards and backwards a threat", "Tramer & Boneh 2019, arXiv 1904.13000"),
    "avg-at": ("11 forwards and backwards a threat", "Tramer & Boneh 2019, arXiv 1904.13000"),
    "msd": (
        "11 forwards and backwards, 10 forwards a threat",
        "Maini et al. 2020, arXiv 1909.04068",
    ),
    "e-at": ("11 forwards and backwards", "Croce & Hein 2022, arXiv 2105.12508"),
    "patch-at": ("22 forwards, 12 backwards", "Rao et al. 2020, arXiv 2005.02313"),
    "ibp": ("3 forwards and backwards", "Gowal et al. 2018, arXiv 1810.12715"),
    "masked": ("1 forward and backward", "Xiang et al. 2022, arXiv 2108.09135"),
    "denoise-pixel": ("7 forwards and backwards", "Liao et al. 2018, arXiv 1712.02976"),
    "denoise-hgd": ("8 forwards, 7 backwards", "Liao et al. 2018, arXiv 1712.02976"),
    "denoise-stability": ("2 forwards, 1 backward", "Salman et al. 2020, arXiv 2003.01908"),
    "universal-at": ("1 forward and backward", "Shafahi et al. 2020, arXiv 1811.11304"),
}


ALONE = "broken when used alone"
_TRANSFORMS = {
    "jpeg": "Dziugaite et al. 2016, arXiv 1608.00853",
    "bit-depth": "Xu et al. 2018, arXiv 1704.01155",
    "total-variation": "Guo et al. 2018, arXiv 1711.00117",
    "median": "Xu et al. 2018, arXiv 1704.01155",
    "gaussian-smoothing": "Xu et al. 2018, arXiv 1704.01155",
    "resize-pad": "Xie et al. 2018, arXiv 1711.01991",
}
_DENOISERS = {
    "unet": "Liao et al. 2018, arXiv 1712.02976",
    "dncnn": "Zhang et al. 2017, arXiv 1608.03981",
}
_DETECTORS = {
    "feature-squeezing": ("3 forwards", "Xu et al. 2018, arXiv 1704.01155"),
    "binary": ("a small forward; attacked pictures", "Metzen et al. 2017, arXiv 1702.04267"),
    "lid": ("1 forward, 500 distances a layer", "Ma et al. 2018, arXiv 1801.02613"),
    "mahalanobis": ("1 forward", "Lee et al. 2018, arXiv 1807.03888"),
    "kernel-density": ("1 forward, 1000 distances", "Feinman et al. 2017, arXiv 1703.00410"),
    "energy": ("1 forward", "Liu et al. 2020, arXiv 2010.03759"),
    "msp": ("1 forward", "Hendrycks & Gimpel 2017, arXiv 1610.02136"),
}


@cache
def catalogue() -> dict[str, DefenseInfo]:
    """Every defense by name.

    >>> catalogue()["trades"].kind
    'training'
    """
    rows = [DefenseInfo(name, OBJECTIVES[name], "training", *_PAPERS[name]) for name in _PAPERS]
    rows += [
        DefenseInfo(name, PREPROCESS[name], f"transform, {ALONE}", "no forward", paper)
        for name, paper in _TRANSFORMS.items()
    ]
    rows += [
        DefenseInfo(name, DENOISERS[name], "denoiser", "1 forward", paper)
        for name, paper in _DENOISERS.items()
    ]
    rows += [
        DefenseInfo(name, DETECTORS[name], "detector", *row) for name, row in _DETECTORS.items()
    ]
    rows += [
        DefenseInfo(
            name, build, f"postprocess, {ALONE}", "no forward", "Athalye et al. 2018, 1802.00420"
        )
        for name, build in POSTPROCESS.items()
    ]
    rows += [
        DefenseInfo(
            "randomized-smoothing", certify, "certificate", "10 100 forwards a picture",
            "Cohen et al. 2019, arXiv 1902.02918",
        ),
        DefenseInfo(
            "interval-bounds", ibp_certify, "certificate", "2 forwards a picture",
            "Gowal et al. 2018, arXiv 1810.12715",
        ),
        DefenseInfo(
            "patch-cleanser", cleanser, "certificate", "36 to 666 forwards a picture",
            "Xiang et al. 2022, arXiv 2108.09135",
        ),
        DefenseInfo(
            "gradient-smoothing", gradient_smoothing, f"transform, {ALONE}", "no forward",
            "Naseer et al. 2019, arXiv 1807.01216",
        ),
    ]  # fmt: skip
    return {row.name: row for row in rows}
