"""The plan of one audit: every flag checked, every user error listed, before anything is loaded."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from pydantic import Field

from robustkit.attacks import build
from robustkit.attacks.cascades import suite as find_suite
from robustkit.attacks.viewed import SURROGATE, no_surrogate
from robustkit.audit.attacking import check_norm
from robustkit.defenses.written import read_all
from robustkit.errors import PlanErrors, UserError
from robustkit.loading import Service, Trust
from robustkit.records import GateMode, Record
from robustkit.threat import ThreatModel

T = TypeVar("T")

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
GATE_MODES = ("no-breach", "proven", "point")


class Bout(Record):
    """One threat and the attacks that meet it, in order.

    With `cascade`, an attack meets what the earlier ones left over; without, every attack is
    measured alone on all samples. Those of them that are `adaptive`, which the audit adds for a
    defended model, always meet what is left over.
    """

    threat: str
    attacks: tuple[str, ...]
    cascade: bool
    adaptive: tuple[str, ...] = ()

    def alone(self, attack: str) -> bool:
        """Whether an attack meets every sample."""
        return attack == self.attacks[0] or not (self.cascade or attack in self.adaptive)


class Plan(Record):
    """Everything that decides an audit's result, and how it is judged and stored."""

    model: str = "zoo:digits-adversarial"
    arch: str | None = None
    preprocess: str | None = None
    state_key: str | None = None
    strip_prefix: str | None = None
    trust_class: tuple[str, ...] = ()
    allow_unsafe_pickle: bool = False
    allow_torchscript: bool = False
    allow_pt2: bool = False
    allow_onnx_external: bool = False
    query_budget: int | None = None
    rate: float | None = None
    data: str = "zoo:digits"
    bouts: tuple[Bout, ...]
    suite: str = "standard"
    samples: int | None = None
    seed: int = 0
    device: str = "auto"
    batch_size: int | None = None
    budget_seconds: float | None = None
    at_least: dict[str, float] = Field(default_factory=dict)
    gate: GateMode = "no-breach"
    baseline: str | None = None
    claimed: float | None = None
    out: str | None = None
    resume: bool = False
    shard: tuple[int, int] | None = None
    trials: bool = True
    trace: bool = False
    curve: bool = False
    command: str = ""
    surrogate: tuple[str, ...] = ()
    defenses: tuple[str, ...] = ()
    defense_data: str | None = None

    @property
    def threats(self) -> tuple[str, ...]:
        """The threats, as they are written."""
        return tuple(bout.threat for bout in self.bouts)

    def loading(self) -> dict[str, Any]:
        """How the model is loaded: the arguments of `load` beside its name and device."""
        trust = Trust(
            self.trust_class, self.allow_unsafe_pickle, self.allow_torchscript, self.allow_pt2,
            self.allow_onnx_external,
        )  # fmt: skip
        return {
            "arch": self.arch,
            "preprocess": self.preprocess,
            "state_key": self.state_key,
            "prefix": self.strip_prefix,
            "trust": trust,
            "service": Service(self.query_budget, self.rate),
        }

    def identity(self) -> dict[str, Any]:
        """The part that decides the result: what a resumed run must share."""
        kept = {
            "bouts", "samples", "seed", "shard", "preprocess", "arch", "trials", "surrogate",
            "state_key", "strip_prefix", "defenses", "defense_data",
        }  # fmt: skip
        return self.model_dump(mode="json", include=kept)


class _Errors:
    """Collects user errors, so that all of them are shown at once."""

    def __init__(self) -> None:
        self.found: list[UserError] = []

    def __call__(self, read: Callable[[], T], default: T) -> T:
        """The value that `read` gives, or `default` and an error more."""
        try:
            return read()
        except UserError as error:
            self.found.append(error)
            return default


def make_plan(  # noqa: PLR0913 - one argument a flag, all keyword-only
    *,
    model: str | None = None,
    data: str | None = None,
    threats: Sequence[str] = (),
    suite: str | None = None,
    attacks: Sequence[str] = (),
    samples: int | None = None,
    seed: int = 0,
    batch_size: int | str | None = None,
    budget: str | float | None = None,
    at_least: Sequence[str] | Mapping[str, float] = (),
    gate: str = "no-breach",
    shard: str | None = None,
    query_budget: int | None = None,
    rate: float | None = None,
    surrogate: str | Sequence[str] = (),
    defenses: Sequence[str] = (),
    defense_data: str | None = None,
    **rest: Any,
) -> Plan:
    """Check every flag and make the plan; raises PlanErrors with all that is wrong.

    >>> make_plan(threats=["linf:0.1"], suite="quick").bouts[0].attacks[0]
    'fgsm'
    """
    errors = _Errors()
    if suite is None and not attacks and (model or "").startswith(("http://", "https://")):
        suite = "blackbox"
    written = tuple(threats) or ("linf:8/255" if model else "linf:0.1",)
    bouts = [errors(partial(_bout, text, suite, attacks), None) for text in written]
    plan = {
        "model": model or "zoo:digits-adversarial",
        "data": data or "zoo:digits",
        "bouts": tuple(bout for bout in bouts if bout is not None),
        "suite": suite or ("" if attacks else "standard"),
        "samples": errors(lambda: _count(samples, "samples"), None),
        "seed": seed,
        "query_budget": errors(lambda: _count(query_budget, "query-budget"), None),
        "rate": errors(lambda: _positive(rate, "rate"), None),
        "batch_size": errors(lambda: _batch_size(batch_size), None),
        "budget_seconds": errors(lambda: parse_seconds(budget), None),
        "at_least": errors(partial(_thresholds, at_least, written), dict[str, float]()),
        "gate": errors(lambda: _gate(gate), "no-breach"),
        "shard": errors(lambda: _shard(shard), None),
        "surrogate": (surrogate,) if isinstance(surrogate, str) else tuple(surrogate or ()),
        "defenses": tuple(defenses),
        "defense_data": defense_data,
        # Attacks that were named, and the published suites, are run as they are.
        "trials": not attacks and not (suite or "").startswith(("autoattack", "transfer")),
        **{key: value for key, value in rest.items() if value is not None},
    }
    errors(lambda: _surrogate(plan["bouts"], surrogate), None)
    errors(partial(read_all, defenses, data=defense_data), list[Any]())
    if errors.found:
        raise PlanErrors(errors.found)
    return Plan(**plan)


def _surrogate(bouts: Sequence[Bout], given: object) -> None:
    if not given and any(text.endswith(f"@{SURROGATE}") for b in bouts for text in b.attacks):
        raise no_surrogate()


def _bout(text: str, suite: str | None, attacks: Sequence[str]) -> Bout | None:
    threat = ThreatModel.parse(text)
    cascade = False
    if not attacks:
        chosen = find_suite(suite or "standard", threat.norm_name)
        attacks, cascade = chosen.attacks, chosen.cascade
    for attack in attacks:
        build(attack)
        check_norm(attack, threat)
    return Bout(threat=threat.text, attacks=tuple(attacks), cascade=cascade)


def _count(value: int | None, name: str) -> int | None:
    if value is not None and value < 1:
        raise UserError(f"{name} >= 1", str(value), f"leave --{name} away to take all")
    return value


def _positive(value: float | None, name: str) -> float | None:
    if value is not None and not 0 < value < math.inf:
        raise UserError(f"{name} > 0", str(value), f"leave --{name} away for no limit")
    return value


def _batch_size(value: int | str | None) -> int | None:
    if value in (None, "auto"):
        return None
    if not str(value).isdigit():
        raise UserError("auto or a number", repr(value), "write --batch-size 64")
    return _count(int(str(value)), "batch-size")


def parse_seconds(text: str | float | None) -> float | None:
    """Seconds from `90`, `90s`, `10m`, `1.5h`; raises UserError otherwise.

    >>> parse_seconds("10m")
    600.0
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(text).strip())
    if not match or not float(match[1]):
        raise UserError("a time such as 90s, 10m or 1h", repr(text), "write --budget 10m")
    return float(match[1]) * UNITS[match[2]]


def _thresholds(
    given: Sequence[str] | Mapping[str, float], threats: Sequence[str]
) -> dict[str, float]:
    """Read `0.45` (for every threat) and `linf:8/255=0.45`."""
    if isinstance(given, Mapping):
        pairs = [(str(name), str(value)) for name, value in given.items()]
    else:
        pairs = [(name, value) for name, _, value in (text.rpartition("=") for text in given)]
    thresholds: dict[str, float] = {}
    for name, value in pairs:
        if name and name not in threats:
            raise UserError(
                f"a threshold for an audited threat: {', '.join(threats)}",
                repr(name),
                f"add --threat {name}, or write --at-least {threats[0]}={value}",
            )
        for threat in [name] if name else threats:
            thresholds[threat] = _fraction(value)
    return thresholds


def _fraction(text: str) -> float:
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise UserError("a fraction in [0, 1]", repr(text), "write --at-least 0.45")
    return value


def _gate(text: str) -> GateMode:
    if text not in GATE_MODES:
        raise UserError(f"one of {', '.join(GATE_MODES)}", repr(text), "write --gate no-breach")
    return text  # type: ignore[return-value]  # just checked


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError("a shard i/n with 1 <= i <= n", repr(text), "write --shard 1/4")
    return int(match[1]), int(match[2])
