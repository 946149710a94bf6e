"""Training from scratch on the reference pictures: the first 8000 to learn, others to be judged."""

from pathlib import Path

import pytest
import torch

import robustkit as rk
from robustkit.defenses.training.loop import train
from robustkit.defenses.training.recipe import recipe
from robustkit.loading import Samples
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

pytestmark = pytest.mark.slow


def parts(reference: Path) -> tuple[Samples, Samples]:
    known = rk.open_samples(reference / "mnist/test-10000.npz")
    first = Samples.of(known.x[:8000], known.y[:8000], ids=known.ids[:8000])
    return first, Samples.of(known.x[8000:8300], known.y[8000:8300], ids=known.ids[8000:8300])


def fresh() -> Classifier:
    import nets  # type: ignore[import-not-found]

    torch.manual_seed(0)
    return Classifier(nets.small_mnist())


def test_one_step_from_a_random_start_is_enough_at_a_tenth(reference: Path) -> None:
    known, others = parts(reference)
    threat = ThreatModel("linf", 0.1)
    preset = recipe("fast", threat, width=28).model_copy(update={"epochs": 6})
    assert preset.objective == "fgsm-rs"
    done = train(fresh(), known, threat, preset)
    assert done.status == "complete"
    log = rk.audit(done.best, others, threat, suite="quick")
    assert log.trusted
    assert log.clean_accuracy >= 0.95
    assert log.robust_accuracy >= 0.88


def test_noise_and_one_step_at_three_tenths_is_caught(reference: Path) -> None:
    known, _ = parts(reference)
    threat = ThreatModel("linf", 0.3)
    short = recipe("n-fgsm", threat, width=28).model_copy(update={"epochs": 4})
    done = train(fresh(), known, threat, short)
    assert {entry.alarm for entry in done.log} > {""}
    assert done.log[-1].objective in ("pgd-2", "pgd-at")
    assert done.status != "complete" or done.scores.robust > 0.2
