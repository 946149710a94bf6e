"""Defenses that are none must be broken by any audit; honest models must not be accused."""

import pytest

import robustkit as rk
from robustkit.defenses.pipeline import Pipeline
from robustkit.defenses.postprocess import rounded, scaled
from robustkit.model import Classifier
from robustkit.zoo import load_model
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


@pytest.mark.parametrize("stages", [(), (SIX_BITS,)], ids=["alone", "with a harmless stage"])
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
def test_a_reference_model_is_not_accused(reference: object) -> None:
    model = rk.load(
        f"{reference}/mnist/lenet5-adversarial.safetensors", arch="nets:lenet5", preprocess="none"
    )
    data = f"{reference}/mnist/test-1000.npz"
    for one in (model, Pipeline(model, (SIX_BITS,))):
        log = rk.audit(one, data, WIDE, samples=100)
        assert log.trusted
        assert not ids(log, "high")
        assert 0.85 <= log.robust_accuracy <= 0.95
