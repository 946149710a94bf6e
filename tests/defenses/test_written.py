"""Defenses on the command line: read before anything is loaded, put together in order."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from robustkit.defenses import catalogue
from robustkit.defenses.denoise import denoiser
from robustkit.defenses.denoise.stored import packed
from robustkit.defenses.detectors import DETECTORS, fitted
from robustkit.defenses.detectors.stored import save_detector
from robustkit.defenses.written import NAMES, defended, read_all
from robustkit.errors import UserError
from robustkit.zoo import load_model, load_samples

TRAIN = load_samples("digits", split="train").take(90)


@pytest.fixture
def train(tmp_path: Path) -> Path:
    path = tmp_path / "train.npz"
    np.savez(path, x=TRAIN.x.numpy(), y=TRAIN.y.numpy())
    return path


def test_every_name_is_in_the_catalogue() -> None:
    assert set(NAMES) - {"denoiser"} <= set(catalogue())


def test_the_parts_stand_in_order() -> None:
    model = defended(
        load_model("digits-standard"), ["bit-depth:bits=3", "median", "msp", "rounded"], TRAIN
    )
    assert model.name == "bit-depth > median > zoo:digits-standard > msp > rounded"
    assert model.abstain == 10


def test_a_detector_is_fitted_on_what_the_model_sees() -> None:
    texts = ["bit-depth:bits=1", "msp:false_alarms=0.1"]
    model = defended(load_model("digits-standard"), texts, TRAIN)
    with torch.no_grad():
        turned = model(TRAIN.pixels(slice(60, None))).argmax(1) == 10
    assert 0 < turned.sum() <= 3


def test_parts_from_files(tmp_path: Path) -> None:
    model = load_model("digits-standard")
    save_detector(fitted("energy", model, TRAIN), tmp_path / "energy.safetensors")
    (tmp_path / "unet.safetensors").write_bytes(packed("unet", denoiser("unet", 1), 1))
    texts = [
        f"denoiser:file={tmp_path / 'unet.safetensors'}",
        f"energy:file={tmp_path / 'energy.safetensors'}",
    ]
    assert defended(model, texts).name == "denoiser > zoo:digits-standard > energy"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["jpg"], "did you mean jpeg"),
        (["jpeg:colour=1"], "a setting of jpeg: quality"),
        (["bit-depth:bits=9"], "1 to 8 bits"),
        (["denoiser"], "the file of a denoiser"),
        (["denoiser:file=nowhere"], "a file that holds a denoiser"),
        (["msp"], "--defense-data"),
        (["rounded", "median"], "in that order"),
        (["msp", "energy"], "at most one detector"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_loaded(texts: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_all(texts)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_has_a_share_of_false_alarms(name: str) -> None:
    (part,) = read_all([f"{name}:false_alarms=0.01"], data="some")
    assert part.settings == {"false_alarms": 0.01}


def test_an_audit_on_the_command_line(run, train: Path) -> None:
    words = ("audit", "zoo:digits-standard", "--data", "zoo:digits", "--samples", "6",
             "--threat", "linf:0.2", "--attack", "fgsm", "--out", "run")  # fmt: skip
    parts = ("--defense", "bit-depth:bits=4", "--defense", "mahalanobis")
    log = json.loads(run(*words, *parts, "--defense-data", train, "--json").stdout)
    assert log["model"]["name"] == "bit-depth > zoo:digits-standard > mahalanobis"
    assert log["plan"]["defenses"] == ["bit-depth:bits=4", "mahalanobis"]
    record = log["threats"][0]
    assert record["oblivious_accuracy"] is not None
    assert record["rejection"]["robust_accuracy"] == record["robust_accuracy"]
    assert {attack["name"].partition("@")[2] for attack in record["attacks"]} >= {
        "undefended", "bpda-identity", "bpda-surrogate", "detector-aware",
    }  # fmt: skip
    resumed = run(*words, *parts, "--defense-data", train, "--json", "--resume").stdout
    assert json.loads(resumed)["threats"][0]["attacks"] == record["attacks"]
    again = run(*words, "--defense", "bit-depth:bits=3", "--resume", code=2)
    assert "defenses" in again.stderr


def test_errors_on_the_command_line(run) -> None:
    words = ("audit", "zoo:digits-standard", "--defense", "jpg", "--threat", "linf")
    result = run(*words, code=2)
    assert "did you mean jpeg" in result.stderr
    assert "NORM:EPS" in result.stderr
