"""Data and models that do not fit are refused in three parts, whatever goes wrong in them."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.conftest import Run

NETS = """\
from torch import nn


class Failing(nn.Module):
    def forward(self, x):
        raise {error}
"""


@pytest.fixture
def numbered(folder: Path) -> str:
    """Pictures of digits whose labels begin at 90."""
    x = np.random.default_rng(0).random((6, 1, 8, 8)).astype("float32")
    np.savez(folder / "other.npz", x=x, y=np.arange(6) + 90)
    return "other.npz"


@pytest.mark.parametrize(
    "words",
    [
        ("attack", "zoo:digits-standard", "--out", "made"),
        ("audit", "zoo:digits-standard", "--suite", "quick"),
        ("certify", "zoo:digits-standard", "--sigma", "0.5"),
        ("patch", "train", "zoo:digits-standard", "--out", "patch.png"),
    ],
    ids=lambda words: words[0],
)
def test_labels_that_the_model_has_not(run: Run, numbered: str, words: tuple[str, ...]) -> None:
    result = run(*words, "--data", numbered, code=4)
    assert "labels from 0 to 9" in result.stderr
    assert "fix:" in result.stderr


@pytest.mark.parametrize("error", ["KeyError('depth')", "AssertionError", "ZeroDivisionError('x')"])
@pytest.mark.parametrize("verb", ["attack", "audit", "certify"])
def test_a_model_that_fails(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, verb: str, error: str
) -> None:
    (folder / "failing_nets.py").write_text(NETS.format(error=error))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "failing_nets", raising=False)
    words = (verb, "py:failing_nets:Failing", "--data", "zoo:digits", "--out", "made")
    result = run(*words, code=4)
    assert "a model that takes pictures of shape (1, 8, 8)" in result.stderr
    assert error.partition("(")[0] in result.stderr
    assert "fix:" in result.stderr
