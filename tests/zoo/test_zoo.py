"""The embedded default says what it holds, holds what it says, and tells its two models apart."""

import hashlib
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits

import robustkit as rk
from robustkit import zoo
from robustkit.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts" / "train_zoo.py"))


def clean_accuracy(name: str) -> float:
    data = zoo.load_samples("digits")
    with torch.no_grad():
        return (zoo.load_model(name)(data.x).argmax(1) == data.y).float().mean().item()


@pytest.mark.parametrize(
    ("name", "clean"), [("digits-standard", 0.994), ("digits-adversarial", 0.996)]
)
def test_clean_accuracy_is_the_one_training_reported(name: str, clean: float) -> None:
    assert clean_accuracy(name) == pytest.approx(clean, abs=1 / 500)


@pytest.mark.parametrize("name", zoo.MODELS)
def test_model_says_where_it_is_from(name: str) -> None:
    model = zoo.load_model(name)
    weights = ROOT / "robustkit" / "zoo" / f"{name}.safetensors"
    assert model.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert model.name == f"zoo:{name}"
    assert model.classes == tuple("0123456789")
    assert not any(module.training for module in model.module.modules())


def test_weights_stay_small() -> None:
    files = list((ROOT / "robustkit" / "zoo").glob("*.safetensors"))
    assert {file.stem for file in files} == set(zoo.MODELS)
    assert sum(file.stat().st_size for file in files) < 1_000_000


def test_splits_are_the_whole_set_once() -> None:
    test, train = zoo.load_samples("digits"), zoo.load_samples("digits", split="train")
    assert (len(test), len(train)) == (500, 1297)
    assert sorted(test.ids + train.ids) == [f"{position:04d}" for position in range(1797)]


def test_samples_are_the_pictures_their_ids_name() -> None:
    digits, data = load_digits(), zoo.load_samples("digits")
    index = [int(name) for name in data.ids]
    assert torch.equal(data.x[:, 0] * 16, torch.from_numpy(digits.images[index]).float())
    assert data.y.tolist() == digits.target[index].tolist()
    assert data.x.dtype == torch.float32
    assert (data.x.min().item(), data.x.max().item()) == (0.0, 1.0)


def test_samples_are_the_same_ones_everywhere() -> None:
    assert zoo.load_samples("digits").sha256.startswith("b04c06747b868d42")


@pytest.mark.parametrize(
    ("load", "known"), [(zoo.load_model, zoo.MODELS), (zoo.load_samples, zoo.DATASETS)]
)
def test_unknown_name_lists_the_known_ones(load: Any, known: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        load("../etc/passwd")
    assert all(f"zoo:{name}" in caught.value.fix for name in known)


def test_names_are_known_without_torch() -> None:
    code = "import sys, robustkit.zoo as zoo; zoo.MODELS; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_shift_moves_each_picture_by_at_most_one_pixel(script: dict[str, Any]) -> None:
    x = torch.zeros(64, 1, 8, 8)
    x[:, 0, 3, 4] = 1
    moved = script["shift"](x, torch.Generator().manual_seed(0))
    places = moved.nonzero()[:, 2:] - torch.tensor([3, 4])
    assert len(places) == 64
    assert {tuple(place) for place in places.tolist()} == {
        (row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)
    }


@pytest.mark.slow
def test_the_hardened_model_raises_no_grave_finding() -> None:
    data = zoo.load_samples("digits").take(200)
    log = rk.audit("zoo:digits-adversarial", data, zoo.THREAT, suite="standard")
    assert log.trusted
    assert not [finding for finding in log.findings if finding.severity == "high"]
    assert log.robust_accuracy > 0.75


def test_the_hardened_model_is_made_by_the_verb(script: dict[str, Any]) -> None:
    assert script["HARDEN"][:2] == ("harden", "zoo:digits-standard")
    assert script["TRAINED"]["digits-adversarial"] is script["harden_standard"]


@pytest.mark.slow
def test_one_model_is_worth_shipping_and_the_other_is_not(script: dict[str, Any]) -> None:
    robust = {name: script["accuracies"](zoo.load_model(name).module)[1] for name in zoo.MODELS}
    assert robust["digits-standard"] == pytest.approx(0.124, abs=0.01)
    assert robust["digits-adversarial"] == pytest.approx(0.86, abs=0.01)


@pytest.mark.slow
def test_training_again_gives_the_same_model(script: dict[str, Any]) -> None:
    """Same accuracy, not same bytes: another processor may add in another order."""
    clean, robust = script["accuracies"](script["train_standard"]())
    assert clean == pytest.approx(0.994, abs=0.01)
    assert robust < 0.25
