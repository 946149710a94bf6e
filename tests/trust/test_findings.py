"""Each finding has a model that triggers it; honest models trigger none of severity high."""

import pytest
from torch import nn

import robustkit as rk
from robustkit.audit.findings import FINDINGS
from robustkit.zoo import load_samples
from tests.trust import broken

SAMPLES = 60


def audited(module: nn.Module, **settings: object) -> rk.AuditLog:
    chosen = {"suite": "quick", "samples": SAMPLES, **settings}
    return rk.audit(broken.wrapped(module), load_samples("digits"), "linf:0.1", **chosen)


def ids(log: rk.AuditLog) -> set[str]:
    return {finding.id for finding in log.findings}


@pytest.fixture(scope="module")
def truth() -> rk.AuditLog:
    """The undefended network: what stands behind every defense below."""
    return audited(broken.standard())


@pytest.mark.parametrize("name", ["zoo:digits-standard", "zoo:digits-adversarial"])
def test_honest_models_raise_nothing_high(name: str) -> None:
    log = rk.audit(name, "zoo:digits", "linf:0.1", suite="quick", samples=SAMPLES)
    assert log.trusted
    assert not [finding for finding in log.findings if finding.severity == "high"]
    assert ids(log) <= {"RK-QUICK", "RK-MOVED", "RK-EIGHT-BIT"}


def test_saturated_logits_are_seen_and_cost_nothing(truth: rk.AuditLog) -> None:
    log = audited(broken.Scaled(broken.standard(), 1000.0))
    assert "RK-SATURATED" in ids(log)
    assert abs(log.robust_accuracy - truth.robust_accuracy) <= 0.05
    assert "RK-SATURATED" not in ids(truth)


@pytest.mark.parametrize("defense", [broken.RoundedAnswer, broken.Quantised])
def test_zero_gradients_void_the_number(defense: type[nn.Module], truth: rk.AuditLog) -> None:
    log = audited(defense(broken.standard()))
    assert "RK-ZERO-GRADIENT" in ids(log)
    assert not log.trusted
    assert "RK-ZERO-GRADIENT" not in ids(truth)


def test_a_stand_in_moves_what_gradients_cannot() -> None:
    log = audited(broken.RoundedAnswer(broken.standard()))
    moved = [finding for finding in log.findings if finding.id == "RK-MOVED"]
    assert any("stand_in" in finding.evidence["attack"] for finding in moved)
    assert log.robust_accuracy <= moved[-1].evidence["after"] + 1e-9


def test_randomness_is_seen_and_averaged_out(truth: rk.AuditLog) -> None:
    log = audited(broken.Random(broken.standard()))
    assert "RK-RANDOM" in ids(log)
    assert "RK-RANDOM" not in ids(truth)


def test_a_rough_model_is_not_believed(truth: rk.AuditLog) -> None:
    """k-winners-take-all: either its true number comes out, or the verdict is untrusted."""
    log = audited(broken.winners(broken.standard()))
    assert not log.trusted or log.robust_accuracy <= truth.robust_accuracy + 0.15


def test_a_detector_that_hides_the_gradient_is_not_believed(truth: rk.AuditLog) -> None:
    log = audited(broken.Detector(broken.standard()))
    assert not log.trusted or log.robust_accuracy <= truth.robust_accuracy + 0.15
    assert ids(log) & {"RK-ONE-STEP", "RK-STEPS", "RK-EPS", "RK-MOVED", "RK-UNBOUNDED"}


def test_a_last_step_that_leaves_the_success_loses_nothing(truth: rk.AuditLog) -> None:
    """Long steps leave what they found; the best point of the path counts, not the last."""
    log = audited(broken.standard(), suite=None, attacks=["pgd:steps=10,step_size=0.1"])
    assert log.robust_accuracy <= truth.robust_accuracy + 0.15


def test_gradients_that_lead_away_are_shown_by_another_model() -> None:
    plain = audited(broken.Deaf(broken.standard()), trials=False)
    log = audited(broken.Deaf(broken.standard()), surrogate="zoo:digits-standard")
    assert plain.robust_accuracy > 0.6, "the gradient attacks are led away"
    assert "RK-TRANSFER" in ids(log) or log.robust_accuracy < plain.robust_accuracy - 0.3
    assert not log.trusted
    honest = audited(broken.standard(), surrogate="zoo:digits-standard")
    assert "RK-TRANSFER" not in ids(honest)


@pytest.mark.parametrize(
    ("defense", "expected", "trusted"),
    [
        (broken.Softmax, "RK-SOFTMAX", True),
        (broken.Stubborn, "RK-TRAIN-MODE", False),
        (broken.Sociable, "RK-BATCH", True),
        (broken.SometimesNan, "RK-NONFINITE", False),
        (broken.Shuffled, "RK-CHANCE", False),
    ],
)
def test_a_faulty_model_is_named(
    defense: type[nn.Module], expected: str, trusted: bool, truth: rk.AuditLog
) -> None:
    log = audited(defense(broken.standard()))
    assert expected in ids(log)
    assert expected not in ids(truth)
    assert log.trusted == trusted


def test_nan_counts_as_fooled(truth: rk.AuditLog) -> None:
    log = audited(broken.SometimesNan(broken.standard()))
    assert 0 < log.clean_accuracy < truth.clean_accuracy


def test_an_unlimited_attacker_must_succeed() -> None:
    """A constant answer is right for one class and cannot be fooled."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    nn.init.zeros_(module[1].weight)
    nn.init.constant_(module[1].bias, 0.0)
    module[1].bias.data[3] = 5.0
    log = audited(module)
    assert not log.trusted
    assert ids(log) & {"RK-UNBOUNDED", "RK-ZERO-GRADIENT"}


def test_little_time_gives_an_honest_part() -> None:
    log = audited(broken.standard(), budget="0.001s", trials=False)
    assert log.status == "partial"
    assert "RK-PARTIAL" in ids(log)
    assert log.threats[0].samples < SAMPLES


def test_every_finding_is_explained() -> None:
    for name, kind in FINDINGS.items():
        assert name.startswith("RK-")
        assert kind.title
        assert kind.meaning.endswith(".")
        assert kind.fix.endswith(".")
