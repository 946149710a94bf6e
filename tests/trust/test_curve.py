"""The security curve: exact where the truth is known, and never above the audit."""

import torch

import robustkit as rk
from tests.engine.small import can_be_fooled, labelled, linear, pictures


def test_a_linear_model_has_the_curve_it_must_have() -> None:
    model = linear(3)
    x = pictures(60)
    y = labelled(model, x)
    log = rk.audit(model, (x, y), "linf:0.05", attacks=["fgsm"], curve=True)
    points = log.threats[0].curve
    assert [round(point.eps, 6) for point in points] == [round(0.01 * k, 6) for k in range(1, 11)]
    for point in points:
        truth = 1 - float(can_be_fooled(model, x, y, "linf", point.eps).float().mean())
        assert truth - 1e-6 <= point.robust_accuracy <= truth + 0.07
    falling = torch.tensor([point.robust_accuracy for point in points])
    assert (falling.diff() <= 0).all()
    assert points[4].robust_accuracy <= log.robust_accuracy
