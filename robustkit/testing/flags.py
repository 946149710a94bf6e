"""The flags of the pytest plugin: those of an audit, and its own, each with its twin in the ini."""

from dataclasses import replace
from typing import Any

import pytest

from robustkit.options import Option, option

MODEL = Option(
    "model",
    "The model to audit: a file of weights, with --robust-arch, or SCHEME:NAME.",
    metavar="MODEL",
)
UNDECIDED = Option(
    "undecided",
    "What a gate does that the samples can neither pass nor fail.",
    default="warn",
    choices=("warn", "fail"),
)

OUT = replace(option("out"), help="Where reports go, instead of pytest's cache.", metavar="DIR")
AT_LEAST = replace(
    option("at-least"),
    help="Collect a test that fails below this robust accuracy: 0.45, or linf:8/255=0.45; may be "
    "given several times.",
)
BASELINE = replace(
    option("baseline"),
    help="Collect a test that fails if the model is significantly worse than this baseline.",
    metavar="FILE",
)
FAIL_UNTRUSTED = replace(
    option("fail-untrusted"), help="Fail every gate on a number that cannot be trusted."
)
UPDATE_BASELINES = Option(
    "update-baselines",
    "Write baselines instead of comparing with them, and fail where one changes.",
    kind="switch",
)
ACCEPT = Option(
    "accept", "Do not fail for baselines that --robust-update-baselines changes.", kind="switch"
)

AUDITING = (
    MODEL,
    option("arch"),
    option("preprocess"),
    option("data"),
    option("threat"),
    option("suite"),
    option("attack"),
    option("samples"),
    option("seed"),
    option("device"),
    option("batch-size"),
    option("budget"),
    replace(option("gate"), help="What a threshold asks for; see --robust-at-least."),
    UNDECIDED,
)
"""What the marker, and the hook `pytest_robustkit_settings`, take as well."""

SESSION = (AT_LEAST, BASELINE, FAIL_UNTRUSTED, OUT)
"""What is asked of a whole run."""

ACTIONS = (UPDATE_BASELINES, ACCEPT)
"""What is done once, and therefore has no twin in the ini file."""


def dest(one: Option) -> str:
    """Where pytest keeps the flag's value."""
    return one.ini_name


def mount(parser: pytest.Parser) -> None:
    """Add every flag and ini value."""
    group = parser.getgroup("robustkit", "adversarial robustness of image models (robustkit)")
    for one in (*AUDITING, *SESSION, *ACTIONS):
        kind = {"integer": int, "number": float}.get(one.kind, str)
        given: dict[str, object] = {"help": one.help, "dest": dest(one), "default": None}
        if one.kind == "switch":
            given["action"] = "store_true"
        else:
            given["action"] = "append" if one.multiple else "store"
            given |= {"choices": one.choices} if one.choices else {"metavar": one.metavar}
            given["type"] = kind
        group.addoption(one.pytest_flag, **given)
    for one in (*AUDITING, *SESSION):
        parser.addini(one.ini_name, f"Like {one.pytest_flag}.", _ini_type(one), default=None)


def _ini_type(one: Option) -> Any:
    """The ini value's type; before 8.4 pytest knows no numbers, and text is read all the same."""
    known = pytest.version_tuple >= (8, 4) or one.ini_type not in ("int", "float")
    return one.ini_type if known else "string"
