"""Suites as data: which attacks, with which parameters, in which order, for each norm."""

import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from robustkit.distortions.corruptions import COMMON
from robustkit.errors import UserError


@dataclass(frozen=True)
class Suite:
    """An ordered list of attacks as `build` reads them.

    In a cascade an attack meets what earlier ones left over; otherwise each is measured alone.
    """

    name: str
    attacks: tuple[str, ...]
    cascade: bool
    summary: str


Attacks = tuple[str, ...]

LP = ("linf", "l2", "l1")
WIDE = ("apgd-ce:wide=true", "apgd-t:targets=5,wide=true")
LAST = ("fab-t:steps=50,targets=3,minimum=false", "square:queries=1000")
PUBLISHED_LAST = ("fab-t:minimum=false", "square")
NARROW = ("sigma-zero:steps=300", "fmn:steps=200")
KIND_BY_KIND = tuple(f"corruption:kind={kind}" for kind in COMMON)
TRANSFER = tuple(f"{name}-fgsm@surrogate" for name in ("mi", "di", "ti", "vmi"))
ALONE = ("corruption",)
"""Where every attack is measured alone in any suite: there is no attacker to choose the worst."""


def _everywhere(attacks: Attacks) -> dict[str, Attacks]:
    return dict.fromkeys(LP, attacks)


SUITES: dict[str, tuple[str, bool, dict[str, Attacks]]] = {
    "quick": (
        "a first look in seconds: each attack alone",
        False,
        {
            **_everywhere(("fgsm", "pgd:steps=20", "apgd-ce:steps=50")),
            "l0": ("sigma-zero:steps=100",),
            "patch": ("masked-pgd:steps=20", "masked-pgd:steps=20,position=random"),
            "spatial": ("worst-of-k", "rotation-translation:rotations=7,shifts=3"),
            "flow": ("stadv:steps=20",),
            "corruption": KIND_BY_KIND,
        },
    ),
    "standard": (
        "the strongest white-box pair, a look for the nearest boundary, a black box",
        True,
        {
            **_everywhere(("apgd-ce", "apgd-t", *LAST)),
            "l1": (*WIDE, *LAST),
            "l0": NARROW,
            "patch": ("masked-apgd:steps=30,restarts=15", "patch-rs:queries=1000"),
            "spatial": ("worst-of-k", "rotation-translation"),
            "flow": ("stadv",),
            "corruption": KIND_BY_KIND,
        },
    ),
    "blackbox": (
        "what needs no gradient: scores, then decisions alone",
        True,
        {
            **_everywhere(("square:queries=1000",)),
            "linf": ("square:queries=1000", "rays:queries=500"),
            "patch": ("patch-rs:queries=1000",),
            "spatial": ("worst-of-k", "rotation-translation"),
            "corruption": KIND_BY_KIND,
        },
    ),
    "minimum-norm": (
        "the smallest perturbations, and who falls within the budget",
        True,
        {
            "linf": ("fmn:steps=200", "pdpgd:steps=200"),
            "l2": ("ddn:steps=200", "fmn:steps=200"),
            "l1": ("pdpgd:steps=300", "fmn:steps=200"),
            "l0": NARROW,
        },
    ),
    "transfer": (
        "examples made on --surrogate MODEL, each attack alone; one query a picture",
        False,
        {**_everywhere(TRANSFER), "linf": (*TRANSFER, "ni-fgsm@surrogate", "si-ni-fgsm@surrogate")},
    ),
    "autoattack": (
        "AutoAttack, standard version (Croce & Hein 2020; l1: 2021)",
        True,
        {
            **_everywhere(("apgd-ce", "apgd-t", *PUBLISHED_LAST)),
            "l1": ("apgd-ce:restarts=5,wide=true", WIDE[1], *PUBLISHED_LAST),
        },
    ),
    "autoattack-rand": (
        "AutoAttack for models that draw random numbers (Croce & Hein 2020)",
        True,
        _everywhere(("apgd-ce:eot=20", "apgd-dlr:eot=20")),
    ),
}


def suite(name: str, norm: str) -> Suite:
    """A suite by name, or from a TOML file with `attacks`, and `name` and `cascade` if wanted.

    Raises UserError if there is none of that name, or none for that norm.

    >>> suite("quick", "linf").attacks[0]
    'fgsm'
    """
    if name.endswith(".toml"):
        return _from_file(Path(name))
    if name not in SUITES:
        near = get_close_matches(name, SUITES, n=2, cutoff=0.4) or list(SUITES)
        raise UserError("the name of a suite", repr(name), f"did you mean {' or '.join(near)}?")
    summary, cascade, by_norm = SUITES[name]
    if norm not in by_norm:
        raise UserError(
            f"a norm that the suite {name} has attacks for: {', '.join(by_norm)}",
            norm,
            "choose another --suite, or name --attack",
        )
    return Suite(name, by_norm[norm], cascade and norm not in ALONE, summary)


def _from_file(path: Path) -> Suite:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(
            "a TOML file", f"{path}: {error}", "check the path and the syntax"
        ) from None
    attacks = content.get("attacks")
    if not attacks or not isinstance(attacks, list) or not all(isinstance(a, str) for a in attacks):
        raise UserError(
            'attacks = ["apgd-ce", ...] in a suite file', f"{attacks!r} in {path}", "name attacks"
        )
    name = str(content.get("name", path.stem))
    return Suite(name, tuple(attacks), bool(content.get("cascade", True)), f"from {path.name}")
