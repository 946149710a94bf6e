"""How a model is trained: one frozen record, and presets that know the budget they are for."""

from math import cos, pi
from typing import Literal

from robustkit.defenses.training.objectives import OBJECTIVES
from robustkit.errors import UserError
from robustkit.records import Record
from robustkit.threat import ThreatModel

PRESETS = ("fast", "standard", "strong")
RISE = 0.3
"""The share of a run over which the learning rate rises before it falls."""


class Recipe(Record):
    """Everything that decides what training does, beside model, data, threat and seed.

    `lr` is the peak of the schedule. `warm_up` is the share of the run over which eps grows from
    0: without it large budgets end in a constant answer. `shift` moves pictures by up to that many
    pixels, `flip` mirrors half of them. A batch is seen `replays` times in a row. `others` are
    further threats, as they are written, for objectives that know several. `ema` is the decay of
    the averaged weights, which are the ones that are measured and shipped. `held` is the share of
    the data that validation takes. An epoch that lost more clean accuracy than `max_clean_drop`
    there is the best only where all did.
    """

    objective: str = "pgd-at"
    epochs: int = 10
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.05
    batch_size: int = 128
    weight_decay: float = 5e-4
    momentum: float = 0.9
    warm_up: float = 0.3
    smoothing: float = 0.0
    shift: int = 1
    flip: bool = False
    replays: int = 1
    others: tuple[str, ...] = ()
    ema: float = 0.995
    held: float = 0.1
    max_clean_drop: float = 1.0

    def eps_share(self, progress: float) -> float:
        """The share of eps to train with after `progress` in [0, 1] of the run.

        >>> Recipe(warm_up=0.5).eps_share(0.25)
        0.5
        """
        return min(1.0, progress / self.warm_up) if self.warm_up else 1.0

    def rate(self, progress: float) -> float:
        """The learning rate of OneCycle: a line up to `lr`, half a cosine down to nothing.

        >>> Recipe(lr=0.1).rate(0.3)
        0.1
        """
        if progress < RISE:
            return self.lr * (0.04 + 0.96 * progress / RISE)
        return self.lr * (1 + cos(pi * (progress - RISE) / (1 - RISE))) / 2


def recipe(name: str, threat: ThreatModel) -> Recipe:
    """The preset `fast`, `standard` or `strong` for a threat, or an objective with defaults.

    One step is enough for small linf budgets: N-FGSM up to 16/255, FGSM-RS up to 0.1. Beyond that,
    and in other norms, one-step training is known to collapse, and `fast` is two steps of PGD.
    Raises UserError for another name.

    >>> recipe("fast", ThreatModel.parse("linf:8/255")).objective
    'n-fgsm'
    >>> recipe("fast", ThreatModel.parse("linf:0.3")).objective
    'pgd-2'
    """
    if name in OBJECTIVES:
        return Recipe(objective=name)
    if name == "fast":
        return Recipe(objective=_fastest(threat))
    if name == "standard":
        return Recipe(objective="pgd-at", epochs=20)
    if name == "strong":
        return Recipe(objective="trades", epochs=30, smoothing=0.1)
    raise UserError(
        f"a recipe: {', '.join((*PRESETS, *OBJECTIVES))}", repr(name), "write --recipe standard"
    )


def _fastest(threat: ThreatModel) -> str:
    eps = float(threat.eps)
    if threat.norm_name != "linf" or eps > 0.1:
        return "pgd-2"
    return "n-fgsm" if eps <= 16 / 255 else "fgsm-rs"
