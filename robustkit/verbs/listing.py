"""`robustkit list`: what there is to attack with, to defend with, to audit and to audit on."""

from collections.abc import Callable
from typing import Any, NamedTuple

import click

from robustkit.verbs.console import print_json, print_table
from robustkit.verbs.verb import flags, verb

Row = dict[str, Any]


class Section(NamedTuple):
    """One table: the columns that a terminal shows, and the rows; JSON has all of each row."""

    columns: tuple[str, ...]
    rows: Callable[[], list[Row]]


def _attacks() -> list[Row]:
    from robustkit.attacks import catalogue

    return [
        {
            "name": row.name,
            "norms": " ".join(row.norms),
            "access": row.access,
            "kind": row.kind,
            "cost": row.cost,
            "paper": row.paper,
            "deterministic": row.deterministic,
            "targeted": row.targeted,
            "reference": row.reference,
        }
        for row in catalogue().values()
    ]


def _suites() -> list[Row]:
    """One row for each suite and list of attacks: norms may share theirs."""
    from robustkit.attacks.cascades import SUITES

    rows = []
    for name, (summary, cascade, by_norm) in SUITES.items():
        norms: dict[tuple[str, ...], list[str]] = {}
        for norm, attacks in by_norm.items():
            norms.setdefault(attacks, []).append(norm)
        rows += [
            {
                "name": name,
                "norms": " ".join(sharing),
                "attacks": " ".join(attacks),
                "what": summary,
                "cascade": cascade,
            }
            for attacks, sharing in norms.items()
        ]
    return rows


def _defenses() -> list[Row]:
    from robustkit import defenses

    catalogue: Callable[[], dict[str, Any]] = getattr(defenses, "catalogue", dict)
    return [_fields(name, row) for name, row in catalogue().items()]


def _models() -> list[Row]:
    from robustkit import zoo

    forms = (
        ("FILE --arch PKG.MOD:FACTORY", "weights: safetensors, or a PyTorch state dict"),
        ("torchvision:NAME[?weights=..]", "a classifier of torchvision, with its preprocessing"),
        ("timm:NAME[?weights=none]", "a model of timm (extra timm)"),
        ("hf:ORG/NAME, hf:./FOLDER", "an image classifier of transformers (extra hf)"),
        ("py:PKG.MOD:FACTORY", "whatever a function of yours returns"),
    )
    zoo_rows = [{"name": f"zoo:{one}", "what": "comes with robustkit"} for one in zoo.MODELS]
    return [*zoo_rows, *({"name": name, "what": what} for name, what in forms)]


def _datasets() -> list[Row]:
    from robustkit import zoo

    forms = (
        ("FOLDER", "one folder of pictures a class: FOLDER/CLASS/PICTURE.png"),
        ("FILE.npz", "x: uint8 or floats in [0, 1], N,C,H,W or N,H,W,C; y: labels"),
        ("torchvision:NAME[?download=1]", "the test split of a data set of torchvision"),
        ("hf:NAME[?split=test]", "a data set of the Hugging Face hub (extra hf)"),
        ("py:PKG.MOD:FACTORY", "whatever pair (x, y) a function of yours returns"),
    )
    zoo_rows = [{"name": f"zoo:{one}", "what": "comes with robustkit"} for one in zoo.DATASETS]
    return [*zoo_rows, *({"name": name, "what": what} for name, what in forms)]


def _threats() -> list[Row]:
    from robustkit.report.threats import words
    from robustkit.threat import THREATS

    examples = {
        "linf": "linf:8/255", "l2": "l2:0.5", "l1": "l1:12", "l0": "l0:10", "patch": "patch:0.05",
        "spatial": "spatial:30,3", "flow": "flow:0.5", "corruption": "corruption:3",
    }  # fmt: skip
    return [
        {"name": name, "example": example, "what": words(example)}
        for name, example in ((norm, examples.get(norm, f"{norm}:1")) for norm in THREATS)
    ]


def _fields(name: str, value: Any) -> Row:
    """A catalogue row, tuple or dataclass, as columns; whatever cannot be printed is left out."""
    from dataclasses import asdict, is_dataclass

    if is_dataclass(value) and not isinstance(value, type):
        fields = asdict(value)
    else:
        fields = value._asdict() if hasattr(value, "_asdict") else {"what": value}
    plain = {key: one for key, one in fields.items() if not callable(one)}
    return {"name": name, **{key: _words(one) for key, one in plain.items() if key != "name"}}


def _words(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return " ".join(str(one) for one in value)
    return value


SECTIONS = {
    "attacks": Section(("name", "norms", "access", "cost", "paper"), _attacks),
    "defenses": Section(("name", "kind", "cost", "paper"), _defenses),
    "suites": Section(("name", "norms", "attacks", "what"), _suites),
    "models": Section(("name", "what"), _models),
    "datasets": Section(("name", "what"), _datasets),
    "threats": Section(("name", "example", "what"), _threats),
}


@verb("list", example="robustkit list attacks")
@click.argument("what", required=False, type=click.Choice(tuple(SECTIONS)))
@flags("json")
def command(what: str | None, json: bool) -> None:
    """List attacks, defenses, suites, models, datasets or threats; without WHAT, all of them."""
    chosen = {what: SECTIONS[what]} if what else SECTIONS
    rows = {name: section.rows() for name, section in chosen.items()}
    if json:
        print_json(rows[what] if what else rows)
        return
    for name, section in chosen.items():
        cells = [[row.get(column, "") for column in section.columns] for row in rows[name]]
        print_table(name, section.columns, cells)
