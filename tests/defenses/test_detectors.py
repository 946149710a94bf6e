"""Detectors: fitted and calibrated on clean pictures, differentiable, kept in plain files."""

import math
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from robustkit.attacks import build
from robustkit.attacks.attack import pose, unrolled
from robustkit.defenses.detectors import DETECTORS, Detector, Fitting, fitted
from robustkit.defenses.detectors.features import layers_of, see
from robustkit.defenses.detectors.intrinsic_dimension import _dimension
from robustkit.defenses.detectors.mahalanobis import Mahalanobis
from robustkit.defenses.detectors.stored import load_detector, save_detector
from robustkit.errors import RefusedError, UserError
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.threat import ThreatModel
from robustkit.zoo import load_model, load_samples

TRAIN = load_samples("digits", split="train").take(450)
TEST = load_samples("digits").take(120)
SURE = ("energy", "msp")
SETTINGS = {"binary": {"epochs": 3, "eps": 0.2}}


@cache
def model() -> Classifier:
    return load_model("digits-standard")


@cache
def made(name: str) -> Detector:
    return fitted(name, model(), TRAIN, **SETTINGS.get(name, {}))


@cache
def pictures() -> tuple[Tensor, Tensor]:
    """Clean pictures, and what PGD makes of them without a thought of detectors."""
    x, y = TEST.pixels(slice(0, 120)), TEST.y
    with model().frozen():
        parsed = ThreatModel.parse("linf:0.2")
        problem = pose(model(), x, Goal(y), parsed, index=torch.arange(120))
        with torch.no_grad():
            return x, unrolled(build("pgd:steps=10"), problem).x


def auroc(clean: Tensor, attacked: Tensor) -> float:
    """The probability that an attacked picture scores higher than a clean one."""
    return float((attacked[:, None] > clean[None]).double().mean())


LEAST = {
    "binary": 0.9,
    "feature-squeezing": 0.6,
    "lid": 0.7,
    "mahalanobis": 0.8,
    "kernel-density": 0.6,
}


def test_scores_of_the_logits_alone() -> None:
    """PGD that goes on after its success makes the model sure: these two cannot see it."""
    logits = torch.tensor([[2.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    fixed = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3, 3)))
    nn.init.eye_(fixed.module[1].weight)
    nn.init.zeros_(fixed.module[1].bias)
    with torch.no_grad():
        energy, msp = (made(name).score(fixed, logits[:, :, None, None]) for name in SURE)
    assert torch.allclose(energy, -torch.tensor([math.e**2 + 2, 3 * math.e]).log())
    assert torch.allclose(msp, -torch.tensor([math.e**2 / (math.e**2 + 2), 1 / 3]).log())


@pytest.mark.parametrize("name", LEAST)
def test_a_detector_tells_careless_attacks_from_clean_pictures(name: str) -> None:
    clean, attacked = (made(name).score(model(), x).detach() for x in pictures())
    assert clean.shape == attacked.shape == (120,)
    assert clean.isfinite().all()
    assert attacked.isfinite().all()
    assert auroc(clean, attacked) >= LEAST[name]


@pytest.mark.parametrize("name", DETECTORS)
def test_the_score_can_be_followed(name: str) -> None:
    x = pictures()[1][:20].clone().requires_grad_()
    (slope,) = torch.autograd.grad(made(name).score(model(), x).sum(), x)
    assert slope.isfinite().all()
    assert (slope.flatten(1).abs().amax(1) > 0).float().mean() > 0.5


@pytest.mark.parametrize("name", DETECTORS)
def test_a_picture_alone_scores_as_in_company(name: str) -> None:
    x = pictures()[0][:3]
    with torch.no_grad():
        together = made(name).score(model(), x)
        alone = torch.cat([made(name).score(model(), one[None]) for one in x])
    assert torch.allclose(together, alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("false_alarms", [0.01, 0.05])
def test_the_threshold_keeps_the_false_alarms(name: str, false_alarms: float) -> None:
    x = TRAIN.pixels(slice(0, 200))
    with model().frozen():
        detector = made(name).calibrate(model(), x, false_alarms=false_alarms)
        turned = detector.abstain(model(), x)
    assert 0 < turned.float().mean() <= false_alarms
    assert torch.equal(turned, detector.excess(model(), detector.see(model(), x)) > 0)
    assert detector.classes == 10


@pytest.mark.parametrize(("count", "share"), [(10, 0.05), (100, 0.0), (100, 1.0)])
def test_a_threshold_that_cannot_be_found(count: int, share: float) -> None:
    with pytest.raises(UserError, match="clean pictures"):
        made("msp").calibrate(model(), TRAIN.pixels(slice(0, count)), false_alarms=share)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_file_gives_the_same_detector_back(name: str, tmp_path: Path) -> None:
    path, x = tmp_path / "detector.safetensors", pictures()[0][:8]
    save_detector(made(name), path)
    again = load_detector(path)
    with torch.no_grad():
        assert torch.equal(again.score(model(), x), made(name).score(model(), x))
        assert torch.equal(again.abstain(model(), x), made(name).abstain(model(), x))


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "detector.safetensors"
    path.write_bytes(b"no tensors")
    with pytest.raises(RefusedError, match="holds a detector"):
        load_detector(path)
    with pytest.raises(RefusedError, match="holds a detector"):
        load_detector(Path(__file__).parents[2] / "robustkit/zoo/digits-standard.safetensors")


def test_a_detector_that_there_is_not() -> None:
    with pytest.raises(UserError, match="a detector: feature-squeezing"):
        fitted("magic", model(), TRAIN)


def test_mahalanobis_is_the_distance_that_its_name_says() -> None:
    """One linear layer: the distance is known in closed form up to the shrinkage."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(3, 3, generator=generator)
    y = torch.arange(3000) % 2
    x = torch.randn(3000, 3, generator=generator) @ mixing + 5 * y[:, None]
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 3))
    net[1].weight.data, net[1].bias.data = torch.eye(3), torch.zeros(3)
    plain = Classifier(net)
    with plain.frozen():
        detector = Mahalanobis.fit(Fitting(plain, x[:, :, None, None], y))
    covariance = torch.cov((x - 5 * y[:, None]).T)
    shrunk = 0.9 * covariance + 0.1 * covariance.diagonal().mean() * torch.eye(3)
    distance = torch.stack([((x - 5 * k) @ shrunk.inverse() * (x - 5 * k)).sum(1) for k in (0, 1)])
    with torch.no_grad():
        score = detector.score(plain, x[:, :, None, None])
    expected = distance.amin(0)
    expected = (expected - expected.mean()) / expected.std()
    assert torch.allclose(score, expected, rtol=0.1, atol=0.2)


@pytest.mark.parametrize("dimension", [2, 8])
def test_the_dimension_of_a_ball_is_found(dimension: int) -> None:
    drawn = torch.rand(20_000, dimension, generator=torch.Generator().manual_seed(0))
    middle = torch.full((1, dimension), 0.5)
    assert float(_dimension(middle, drawn)) == pytest.approx(dimension, rel=0.35)


def test_the_layers_looked_into_end_with_the_last() -> None:
    with model().frozen():
        layers = layers_of(model(), TEST.pixels(slice(0, 4)))
        seen = see(model(), TEST.pixels(slice(0, 4)), layers)
    assert len(layers) == 4
    assert torch.equal(seen.layers[-1], seen.logits)
    assert not any(part._forward_hooks for part in model().module.modules())
