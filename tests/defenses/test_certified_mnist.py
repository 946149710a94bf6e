"""Certificates on the reference pictures: training for them pays, and the proof is not empty."""

from pathlib import Path

import pytest
import torch

import robustkit as rk
from robustkit.defenses.ibp import certify
from robustkit.defenses.patch_cleanser import cleanser
from robustkit.defenses.training.loop import train
from robustkit.defenses.training.recipe import recipe
from robustkit.loading import Samples
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

pytestmark = pytest.mark.slow


def trained(reference: Path, name: str, threat: ThreatModel, epochs: int) -> Classifier:
    import nets  # type: ignore[import-not-found]

    known = rk.open_samples(reference / "mnist/test-10000.npz")
    first = Samples.of(known.x[:8000], known.y[:8000], ids=known.ids[:8000])
    torch.manual_seed(0)
    quick = recipe(name, threat).model_copy(update={"epochs": epochs, "held": 0.01})
    done = train(Classifier(nets.small_mnist()), first, threat, quick)
    assert done.status == "complete"
    return done.last


def judged(reference: Path, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    known = rk.open_samples(reference / "mnist/test-10000.npz")
    return known.pixels(slice(8000, 8000 + count)), known.y[8000 : 8000 + count]


def test_bounds_prove_most_of_a_network_trained_for_them(reference: Path) -> None:
    threat = ThreatModel("linf", 0.1)
    model = trained(reference, "ibp", threat, 8)
    x, y = judged(reference, 2000)
    found = certify(model, x, threat, batch_size=500)
    assert float(((found.prediction == y) & found.proven).float().mean()) >= 0.7


def test_masks_prove_much_of_a_network_trained_with_them(reference: Path) -> None:
    threat = ThreatModel.parse("patch:5x5")
    model = trained(reference, "masked", threat, 5)
    x, y = judged(reference, 200)
    with model.frozen(), torch.no_grad():
        found = cleanser(model, x, threat).certify(x)
    assert float(((found.prediction == y) & found.proven).float().mean()) >= 0.25
