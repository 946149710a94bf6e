"""Models by name, through their libraries' real loading code, each audited by one command.

The weights are random and made on the spot, so that no network is needed; what is tested is that
loading, preprocessing, attack and report fit together.
"""

import importlib
import importlib.util
import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from robustkit.cli import cli

pytestmark = pytest.mark.slow


def need(package: str) -> Any:
    """The library, or a skip; ROBUSTKIT_PEERS may name a folder that holds it."""
    folder = os.environ.get("ROBUSTKIT_PEERS")
    if folder and folder not in sys.path:
        sys.path.append(folder)
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: run ./scripts/peers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(package)


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """`audit("torchvision:resnet18?weights=none")`: the record of two pictures under FGSM."""
    monkeypatch.chdir(tmp_path)
    drawn = np.random.default_rng(0)
    np.savez("data.npz", x=drawn.integers(0, 256, (2, 3, 224, 224), dtype=np.uint8), y=[0, 1])

    def call(model: str) -> dict[str, Any]:
        words = ["audit", model, "--data", "data.npz", "--samples", "2", "--attack", "fgsm"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            done = CliRunner().invoke(
                cli, [*words, "--threat", "linf:1/255", "--out", "run"], prog_name="robustkit"
            )
        assert done.exit_code == 0, done.output
        record: dict[str, Any] = json.loads(Path("run/audit.json").read_text())
        assert record["data"]["samples"] == 2
        assert record["status"] == "complete"
        assert Path("run/report.html").exists()
        return record

    return call


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16", "googlenet"])
def test_torchvision(audit, name: str) -> None:
    record = audit(f"torchvision:{name}?weights=none")
    assert record["model"]["preprocess"]["mean"] == [0.485, 0.456, 0.406]


@pytest.mark.parametrize("name", ["resnet18", "googlenet"])
def test_torchvision_weights_from_its_own_cache(audit, name: str, tmp_path, monkeypatch) -> None:
    """The files are made here, under the names that torch.hub keeps them by."""
    from torchvision import models

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        weights = models.get_model(name, weights=None).state_dict()
    url = models.get_model_weights(name).DEFAULT.url
    folder = tmp_path / "hub/hub/checkpoints"
    folder.mkdir(parents=True)
    torch.save(weights, folder / url.rpartition("/")[2])
    record = audit(f"torchvision:{name}")
    assert len(record["model"]["sha256"]) == 64
    assert len(record["model"]["classes"]) == 1000


def test_timm(audit) -> None:
    need("timm")
    record = audit("timm:resnet18?weights=none")
    assert record["model"]["source"] == "timm:resnet18?weights=none"
    assert record["model"]["preprocess"]["mean"]


def test_hugging_face(audit, tmp_path: Path) -> None:
    transformers = need("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        image_size=224, patch_size=32, num_labels=3, id2label={0: "cat", 1: "dog", 2: "owl"},
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    transformers.ViTImageProcessor().save_pretrained(tmp_path / "vit")
    record = audit("hf:./vit")
    assert record["model"]["classes"] == ["cat", "dog", "owl"]
    assert record["model"]["preprocess"]["mean"] == [0.5, 0.5, 0.5]
