"""How a model is trained: one frozen record, and presets that know the budget they are for."""

from math import cos, pi
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from robustkit.attacks.written import defaults, read_settings
from robustkit.defenses.ibp import need_linf
from robustkit.defenses.training.objectives import OBJECTIVES, takes
from robustkit.errors import UserError
from robustkit.records import Record
from robustkit.threat import ThreatModel

PRESETS = ("fast", "standard", "strong")
SMALL: dict[str, Any] = {"epochs": 30, "lr": 0.1}
"""Of a preset for small budgets and other norms."""
DRAWN_EPOCHS = {"fast": 10, "standard": 15, "strong": 20}
DRAWN: dict[str, Any] = {"optimizer": "adamw", "lr": 4e-3, "warm_up": 0.2, "shift": 1}
DENOISER: dict[str, Any] = {"optimizer": "adamw", "lr": 2e-3, "warm_up": 0.5, "shift": 0,
                            "held": 0.03}  # fmt: skip
"""What changes where a denoiser learns in front of a frozen model: it is dear to validate."""
OWN: dict[str, dict[str, Any]] = {
    "free": {"replays": 8},
    "ibp": {"epochs": 30, "optimizer": "adamw", "lr": 4e-3, "warm_up": 0.45, "shift": 0},
    "masked": {"epochs": 12, "optimizer": "adamw", "lr": 5e-3, "warm_up": 0.0, "shift": 0},
}
"""What changes for one objective."""
PATCHES = ("patch-at", "masked")
"""Objectives for threats that are patches."""
RISE = 0.3
"""The share of a run over which the learning rate rises before it falls."""

GIVEN = ("teacher", "others", "smoothing")
"""What an objective gets from the run, and not from its own settings."""
TUNED = (
    "optimizer", "lr", "batch_size", "weight_decay", "momentum", "warm_up", "smoothing", "shift",
    "flip", "replays", "ema", "held",
)  # fmt: skip
"""The fields of a recipe that may be written behind its name."""

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]


class Recipe(Record):
    """Everything that decides what training does, beside model, data, threat and seed.

    `lr` is the peak of the schedule. `warm_up` is the share of the run over which eps grows from
    0: without it large budgets end in a constant answer. `shift` moves pictures by up to that many
    pixels, `flip` mirrors half of them. A batch is seen `replays` times in a row. `others` are
    further threats, as they are written, for objectives that know several. `ema` is the decay of
    the averaged weights, which are the ones that are measured and shipped. `held` is the share of
    the data that validation takes. An epoch that lost more clean accuracy than `max_clean_drop`
    there is the best only where all did. `settings` are the objective's own, such as the beta of
    TRADES; another objective, which a remedy chose, goes by its defaults.
    """

    objective: str = "pgd-at"
    epochs: Count = 10
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.05
    batch_size: Count = 128
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    momentum: BelowOne = 0.9
    warm_up: Share = 0.3
    smoothing: BelowOne = 0.0
    shift: Annotated[int, Field(ge=0)] = 1
    flip: bool = False
    replays: Count = 1
    others: tuple[str, ...] = ()
    ema: BelowOne = 0.995
    held: BelowOne = 0.1
    max_clean_drop: Share = 1.0
    settings: dict[str, int | float] = Field(default_factory=dict)

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


def recipe(name: str, threat: ThreatModel, *, several: bool = False, width: int = 8) -> Recipe:
    """The preset `fast`, `standard` or `strong` for a threat, or an objective with defaults.

    One step is enough for small linf budgets: N-FGSM up to 16/255, FGSM-RS up to a tenth of the
    range of a pixel. Beyond that, and in other norms, one-step training is known to collapse, and
    `fast` is two steps of PGD. Budgets of the size that only drawn pictures allow are trained by
    Adam: what separates classes there is far from where a network begins, and SGD hardly gets to
    it. With `several` threats, only what knows them all will do; for a patch, training with
    patches. Pictures move by an eighth of their `width` in pixels, drawn ones by one pixel.
    Settings may follow the name, see `tuned`. Raises UserError for another name.

    >>> recipe("fast", ThreatModel.parse("linf:8/255")).objective
    'n-fgsm'
    >>> recipe("fast", ThreatModel.parse("linf:0.3")).objective
    'pgd-2'
    >>> recipe("trades:beta=3,ema=0", ThreatModel.parse("linf:8/255")).settings
    {'beta': 3.0}
    """
    name, _, words = name.partition(":")
    if name not in PRESETS and name not in OBJECTIVES:
        known = ", ".join((*PRESETS, *OBJECTIVES))
        raise UserError(f"a recipe: {known}", repr(name), "write --recipe standard")
    objective = _preset(name, threat, several) if name in PRESETS else name
    if several and not takes(objective, "others"):
        knowing = ", ".join(one for one in OBJECTIVES if takes(one, "others"))
        raise UserError(f"a recipe that knows several threats: {knowing}", name, "give one of them")
    if (objective in PATCHES) != (threat.norm_name == "patch"):
        raise UserError(
            f"a recipe of {', '.join(PATCHES)} for a patch, and only there",
            f"{name} for {threat.text}",
            "leave --recipe out",
        )  # fmt: skip
    if objective == "ibp":
        need_linf(threat)
    settings = {"shift": max(1, width // 8), **_schedule(name, threat)}
    settings |= OWN.get(objective, {})
    return tuned(Recipe(objective=objective, **settings), words)


def tuned(chosen: Recipe, words: str) -> Recipe:
    """The recipe with what `key=value,...` says: its own fields, or settings of its objective.

    Raises UserError for what neither has, and for values out of range.

    >>> tuned(Recipe(), "lr=0.1,steps=3,smoothing=0.1").settings
    {'steps': 3}
    """
    own = defaults(OBJECTIVES[chosen.objective])
    fields = {key: Recipe.model_fields[key].default for key in TUNED}
    if "smoothing" not in own:
        fields.pop("smoothing")
    # Not to move at all is a choice, where no step at all is none.
    accepted = {**fields, "shift": 0, **{key: own[key] for key in own if key not in GIVEN}}
    read = read_settings(chosen.objective, words, accepted)
    changes = {key: read.pop(key) for key in TUNED if key in read}
    settings = {**chosen.settings, **read}
    try:
        return Recipe(**{**chosen.model_dump(), **changes, "settings": settings})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{key}: {first['msg'].lower()}",
            f"{key}={first['input']}",
            "leave it out",
        ) from None


def is_small(threat: ThreatModel) -> bool:
    """Whether a budget is one of those for which one step from strong noise is known to do."""
    return threat.norm_name == "linf" and share(threat) <= 16 / 255


def share(threat: ThreatModel) -> float:
    """Eps as a share of the range of a pixel."""
    low, high = threat.bounds
    return float(threat.eps) / (high - low)


def _preset(name: str, threat: ThreatModel, several: bool) -> str:
    """The objective of a preset."""
    if threat.norm_name == "patch":
        return "patch-at"
    if several:
        return "e-at" if name == "fast" else "msd"
    if name == "fast":
        one_step = threat.norm_name == "linf" and share(threat) <= 0.1
        return "n-fgsm" if is_small(threat) else "fgsm-rs" if one_step else "pgd-2"
    return "pgd-at" if name == "standard" else "trades"


def _schedule(name: str, threat: ThreatModel) -> dict[str, Any]:
    """How long and how fast."""
    if threat.norm_name == "linf" and not is_small(threat):
        return {"epochs": DRAWN_EPOCHS.get(name, 15), **DRAWN}
    found = SMALL if name in PRESETS else {}
    return {**found, "smoothing": 0.1} if name == "strong" else found
