"""`robustkit certify`: the bracket around the truth, and flags that cannot be meant."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result

from robustkit.errors import ToolError
from robustkit.threat import ThreatModel
from robustkit.verbs.certificates import Method
from robustkit.verbs.certifying import summary
from robustkit.zoo import load_model

Run = Callable[..., Result]
WORDS = ("certify", "zoo:digits-adversarial", "--samples", "24", "--out", "made")
IBP = ("--method", "ibp", "--threat", "linf:0.001")
PATCH = ("--method", "patch-cleanser", "--threat", "patch:1x1", "--masks", "2")


@pytest.mark.parametrize("words", [IBP, PATCH], ids=["ibp", "patch-cleanser"])
def test_the_truth_lies_between_proof_and_attack(run: Run, words: tuple[str, ...]) -> None:
    facts = json.loads(run(*WORDS, *words, "--json").stdout)
    (row,) = facts["certified"]
    assert (facts["method"], row["threat"]) == (words[1], words[3])
    assert row["certified_accuracy"] <= row["attacked_accuracy"] <= facts["clean_accuracy"]
    assert row["attacked_accuracy"] > 0.3
    low, high = row["interval"]
    assert low <= row["certified_accuracy"] <= high
    again = json.loads(run(*WORDS, *words, "--json", "--resume").stdout)
    assert again == facts
    assert "run" in run(*WORDS, "--method", "ibp", "--threat", "linf:0.1", code=2).stderr


def test_a_table_is_shown_and_kept(run: Run, tmp_path: Path) -> None:
    shown = run(*WORDS, *PATCH, "--no-attack").stdout
    assert "certified by patch-cleanser" in shown
    assert "patch:1x1" in shown
    kept = json.loads((tmp_path / "made/certify.json").read_text())
    assert "attacked_accuracy" not in kept["certified"][0]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--method", "ibp"], "--threat"),
        (["--method", "ibp", "--threat", "l2:1"], "linf"),
        (["--method", "patch-cleanser", "--threat", "linf:0.1"], "patch"),
        (["--method", "patch-cleanser", "--threat", "patch:2x2", "--masks", "1"], "masks"),
        (["--method", "ibp", "--threat", "linf:0.1", "--radius", "1"], "--radius"),
        (["--threat", "linf:0.1"], "--radius"),
        (["--sigma", "0"], "sigma"),
        (["--resume"], "--out"),
    ],
)
def test_flags_that_cannot_be_meant(run: Run, words: list[str], named: str) -> None:
    assert named in run("certify", "zoo:digits-standard", *words, code=2).stderr


def test_a_certificate_that_an_attack_contradicts_is_an_error() -> None:
    claim = ThreatModel("linf", 0.1)
    made = Method(
        {"method": "ibp"}, (claim,), lambda x, index: {}, lambda found, claim: found["margin"] > 0,
        lambda x, index: index, load_model("digits-standard"), (),
    )  # fmt: skip
    found = {
        "prediction": torch.tensor([1, 2, 0]),
        "margin": torch.tensor([1.0, -1.0, 1.0]),
        "held linf:0.1": torch.tensor([True, False, False]),
    }
    facts = summary(made, found, torch.tensor([1, 2, 3]))
    assert facts["certified"][0]["certified_accuracy"] == pytest.approx(1 / 3)
    assert facts["clean_accuracy"] == pytest.approx(2 / 3)
    with pytest.raises(ToolError, match="1 samples"):
        summary(made, {**found, "margin": torch.ones(3)}, torch.tensor([1, 2, 3]))
