"""Defenses that are none must be broken by any audit; honest models must not be accused."""

import pytest
import torch
from torch import Tensor

import robustkit as rk
from robustkit.attacks import build
from robustkit.attacks.attack import pose, unrolled
from robustkit.defenses.denoise.unet import unet
from robustkit.defenses.detectors import fitted
from robustkit.defenses.pipeline import Pipeline
from robustkit.defenses.postprocess import rounded, scaled
from robustkit.defenses.stage import Stage
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.threat import ThreatModel
from robustkit.zoo import load_model, load_samples
from tests.defenses.small import BLACK_AND_WHITE, RESIZED, SIX_BITS
from tests.trust import broken

WIDE = "linf:0.3"
"""Within this budget the undefended network is never right."""


def standard() -> Classifier:
    return load_model("digits-standard")


def audited(
    model: Classifier | Pipeline, threat: str = WIDE, *, samples: int = 8, **asked: object
) -> rk.AuditLog:
    return rk.audit(model, "zoo:digits", threat, samples=samples, **asked or {"attacks": ["fgsm"]})


def ids(log: rk.AuditLog, *severities: str) -> set[str]:
    kinds = severities or ("high", "medium", "low", "info")
    return {finding.id for finding in log.findings if finding.severity in kinds}


CANARIES = {
    "logits x 1000": Pipeline(standard(), postprocess=scaled(factor=1000.0)),
    "logits x 1000, hidden": broken.wrapped(broken.Scaled(broken.standard(), 1000.0)),
    "rounded softmax": Pipeline(standard(), postprocess=rounded(decimals=3)),
    "rounded softmax, hidden": broken.wrapped(broken.RoundedAnswer(broken.standard())),
    "one bit": Pipeline(standard(), (BLACK_AND_WHITE,)),
    "one bit, hidden": broken.wrapped(broken.Quantised(broken.standard())),
    "random resize": Pipeline(standard(), (RESIZED,)),
}


@pytest.mark.parametrize("name", CANARIES)
def test_a_canary_is_broken(name: str) -> None:
    log = audited(CANARIES[name])
    assert log.robust_accuracy <= 0.1 or (not log.trusted and ids(log, "high"))


def test_the_undefended_network_falls_there() -> None:
    assert audited(standard()).robust_accuracy == 0


def test_a_defense_that_must_not_be_known_is_named() -> None:
    """Against pictures made on the network alone two grey levels help; against others less."""
    log = audited(CANARIES["one bit"], "linf:0.25")
    record = log.threats[0]
    assert record.oblivious_accuracy is not None
    assert record.oblivious_accuracy - record.robust_accuracy > 0.1
    assert "RK-OBLIVIOUS" in ids(log)


@pytest.mark.parametrize(
    "stages",
    [
        pytest.param((), id="alone"),
        pytest.param((SIX_BITS,), id="with a harmless stage", marks=pytest.mark.slow),
    ],
)
def test_an_honest_model_is_not_accused(stages: tuple[object, ...]) -> None:
    model = load_model("digits-adversarial")
    alone = audited(model, "linf:0.1", attacks=["apgd-ce"])
    log = audited(Pipeline(model, stages), "linf:0.1", attacks=["apgd-ce"])  # type: ignore[arg-type]
    assert log.trusted
    assert not ids(log, "high", "medium")
    assert abs(log.robust_accuracy - alone.robust_accuracy) <= 0.1
    assert log.robust_accuracy > 0.5
    assert (log.threats[0].oblivious_accuracy is None) == (not stages)


@pytest.mark.slow
def test_an_honest_model_that_hesitates_is_not_broken_by_luck() -> None:
    """One call of ten is wrong: what most calls say is as robust as the model behind them."""
    model = load_model("digits-adversarial")
    alone = audited(model, "linf:0.1", attacks=["apgd-ce"])

    def blank(x: Tensor) -> Tensor:
        return torch.where(torch.rand(len(x), 1, 1, 1) < 0.1, 0 * x, x)

    stage = Stage("blanking", blank, random=True)
    log = audited(Pipeline(model, (stage,)), "linf:0.1", attacks=["square:queries=100"])
    assert log.trusted
    assert not ids(log, "high")
    assert log.robust_accuracy >= alone.robust_accuracy - 0.13
    assert log.robust_accuracy > 0.5


@pytest.mark.slow
def test_an_honest_model_with_a_detector_is_not_accused() -> None:
    """It turns careless attacks away, which is said; the model behind it holds as it does alone."""
    model = load_model("digits-adversarial")
    alone = audited(model, "linf:0.1", attacks=["apgd-ce"])
    detector = fitted("energy", model, load_samples("digits", split="train").take(900))
    log = audited(Pipeline(model, detector=detector), "linf:0.1", attacks=["apgd-ce"])
    assert log.trusted
    assert not ids(log, "high")
    assert ids(log, "medium") <= {"RK-OBLIVIOUS"}
    assert log.robust_accuracy > 0.5
    assert abs(log.robust_accuracy - alone.robust_accuracy) <= 0.25


@pytest.mark.slow
def test_the_security_curve_of_a_defense_follows_its_stand_in() -> None:
    """Through two grey levels there is no gradient: without a stand-in nothing would be found."""
    record = audited(CANARIES["one bit"], "linf:0.15", attacks=["fgsm"], curve=True).threats[0]
    assert record.curve[-1].robust_accuracy < record.robust_accuracy


def careless(model: Classifier, samples: rk.Samples, eps: float, seed: int) -> Tensor:
    """The last points of PGD, which goes on after its success and knows of no defense."""
    x, index = samples.pixels(slice(None)), torch.arange(len(samples))
    threat = ThreatModel("linf", eps)
    problem = pose(model, x, Goal(samples.y), threat, index=index, seed=seed)
    with model.frozen(), torch.no_grad():
        return unrolled(build("pgd:steps=10"), problem).x


def guided_denoiser(model: Classifier, eps: float) -> Stage:
    """A denoiser that learns to give attacked pictures the logits of clean ones (HGD)."""
    torch.manual_seed(0)
    net, train = unet(1, width=8), load_samples("digits", split="train")
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    clean = train.pixels(slice(None))
    with model.frozen():
        for epoch in range(8):
            attacked = careless(model, train, eps, epoch)
            for rows in torch.randperm(len(train)).split(64):
                loss = (model(net(attacked[rows])) - model(clean[rows])).abs().mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    return Stage("hgd", net.eval().requires_grad_(False))


@pytest.mark.slow
def test_a_denoiser_that_was_guided_by_one_attack_is_broken() -> None:
    model = standard()
    log = audited(Pipeline(model, (guided_denoiser(model, 0.15),)), "linf:0.15", samples=60)
    record = log.threats[0]
    assert record.oblivious_accuracy is not None
    assert record.oblivious_accuracy > 0.5
    assert log.robust_accuracy <= 0.2
    assert "RK-OBLIVIOUS" in ids(log)


@pytest.mark.slow
def test_a_detector_that_never_misses_a_careless_attack_is_broken() -> None:
    model, samples = standard(), load_samples("digits").take(200)
    detector = fitted("binary", model, load_samples("digits", split="train"), eps=0.2, epochs=8)
    with torch.no_grad():
        clean, attacked = (
            detector.score(model, x)
            for x in (samples.pixels(slice(None)), careless(model, samples, 0.2, 9))
        )
    assert (attacked[:, None] > clean[None]).double().mean() >= 0.999
    log = audited(Pipeline(model, detector=detector), "linf:0.2", samples=24)
    record = log.threats[0]
    assert record.oblivious_accuracy is not None
    assert record.oblivious_accuracy >= 0.9
    assert log.robust_accuracy <= 0.1


@pytest.mark.slow
def test_a_reference_model_is_not_accused(reference: object) -> None:
    model = rk.load(
        f"{reference}/mnist/lenet5-adversarial.safetensors", arch="nets:lenet5", preprocess="none"
    )
    data = f"{reference}/mnist/test-1000.npz"
    for one in (model, Pipeline(model, (SIX_BITS,))):
        log = rk.audit(one, data, WIDE, samples=40, attacks=["apgd-ce:steps=50"])
        assert log.trusted
        assert not ids(log, "high")
        assert 0.8 <= log.robust_accuracy <= 0.95
