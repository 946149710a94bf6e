"""Defenses: ways to make a model harder to fool, each measured by the same audit.

The folder lies at the top of the tree and imports as `robustkit.defenses`.
"""

if __name__ != "robustkit.defenses":
    raise ImportError(f"import robustkit.defenses, not {__name__}")

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from robustkit.defenses.smoothing import certify
from robustkit.defenses.training.objectives import OBJECTIVES


@dataclass(frozen=True)
class DefenseInfo:
    """A catalogue row: what a defense is, what it costs and who proposed it.

    `kind`: "training" (an objective) or "certificate". `cost` is in forwards and backwards
    a picture and epoch, or what else it takes.
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
    "distill": ("13 forwards, 12 backwards", "Goldblum et al. 2020, arXiv 1905.09747"),
    "max-at": ("11 forwards and backwards a threat", "Tramer & Boneh 2019, arXiv 1904.13000"),
    "avg-at": ("11 forwards and backwards a threat", "Tramer & Boneh 2019, arXiv 1904.13000"),
    "msd": (
        "11 forwards and backwards, 10 forwards a threat",
        "Maini et al. 2020, arXiv 1909.04068",
    ),
    "e-at": ("11 forwards and backwards", "Croce & Hein 2022, arXiv 2105.12508"),
    "patch-at": ("11 forwards and backwards", "Madry et al. 2018, arXiv 1706.06083"),
    "ibp": ("3 forwards and backwards", "Gowal et al. 2018, arXiv 1810.12715"),
    "masked": ("1 forward and backward", "Xiang et al. 2022, arXiv 2108.09135"),
    "universal-at": ("1 forward and backward", "Shafahi et al. 2020, arXiv 1811.11304"),
}


@cache
def catalogue() -> dict[str, DefenseInfo]:
    """Every defense by name.

    >>> catalogue()["trades"].kind
    'training'
    """
    rows = [DefenseInfo(name, OBJECTIVES[name], "training", *_PAPERS[name]) for name in _PAPERS]
    rows.append(
        DefenseInfo(
            "randomized-smoothing", certify, "certificate", "10 100 forwards a picture",
            "Cohen et al. 2019, arXiv 1902.02918",
        )
    )  # fmt: skip
    return {row.name: row for row in rows}
