"""A small network on CIFAR-10, on the CPU: what the fast preset buys at 8/255."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import robustkit as rk
from robustkit.defenses.training.loop import train
from robustkit.defenses.training.recipe import Recipe, recipe
from robustkit.loading import Samples
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

pytestmark = pytest.mark.slow
THREAT = ThreatModel.parse("linf:8/255")


def network() -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 16), (16, 32), (32, 64)):
        layers += [
            nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
        ]  # fmt: skip
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(256, 10))


def pictures(reference: Path) -> tuple[Samples, Samples]:
    with np.load(reference / "cifar10/train-0.npz") as some:
        x, y = torch.from_numpy(some["x"][:2200]), torch.from_numpy(some["y"][:2200])
    return Samples.of(x[:2000], y[:2000]), Samples.of(x[2000:], y[2000:])


def test_the_fast_preset_makes_a_small_network_clearly_harder_to_fool(reference: Path) -> None:
    known, others = pictures(reference)
    torch.manual_seed(0)
    clean = Recipe(objective="gaussian", epochs=8, lr=0.1, flip=True)
    undefended = train(Classifier(network()), known, ThreatModel("l2", 0.0), clean).last
    preset = recipe("fast", THREAT, width=32)
    assert (preset.objective, preset.epochs, preset.lr) == ("n-fgsm", 30, 0.1)
    preset = preset.model_copy(update={"flip": True, "epochs": 10})
    done = train(undefended, known, THREAT, preset)
    assert done.status == "complete"
    attacks = ["apgd-ce:steps=20"]
    logs = [rk.audit(one, others, THREAT, attacks=attacks) for one in (undefended, done.best)]
    assert all(log.trusted for log in logs)
    before, after = (log.robust_accuracy for log in logs)
    assert logs[0].clean_accuracy > 0.35
    assert before < 0.05
    assert after > before + 0.1
