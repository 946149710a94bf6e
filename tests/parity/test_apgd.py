"""APGD beside the published code from one and the same start: every loss and success is equal."""

import sys
import warnings
from pathlib import Path

import pytest
import torch

from robustkit.attacks import build
from robustkit.attacks.attack import pose, unrolled
from robustkit.goal import Goal
from robustkit.threat import ThreatModel
from tests.parity.cases import CNN, PROVABLE
from tests.parity.libraries import autoattack
from tests.parity.test_parity import opened


@pytest.mark.parametrize(
    "place",
    [
        (PROVABLE, "linf:0.3", 24, 45),
        (CNN, "linf:2/255", 24, 45),
        pytest.param((PROVABLE, "linf:0.3", 500, 100), marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(("own", "loss"), [("apgd-ce", "ce"), ("apgd-dlr", "dlr")])
def test_from_one_start_every_sample_ends_alike(
    reference: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: tuple[str, str, int, int],
    own: str,
    loss: str,
) -> None:
    name, threat, samples, steps = place
    kind = autoattack("autopgd_base").APGDAttack
    model, x, y, _ = opened(reference, name, samples)
    budget = ThreatModel.parse(threat)
    eps = budget.budget(x)[0]
    noise = 2 * torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) - 1
    start = (x + eps * noise / noise.abs().amax((1, 2, 3), keepdim=True)).clamp(0, 1)
    # The package has a function of the module's name, so that the module is found here only.
    monkeypatch.setattr(sys.modules["robustkit.attacks.apgd"], "surface", lambda _: start)
    with model.frozen(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = kind(model, n_iter=steps, eps=float(eps), loss=loss, device="cpu")
        theirs.init_hyperparam(x)
        _, robust, best_loss, _ = theirs.attack_single_run(x, y, start)
        problem = pose(model, x, Goal(y), budget, index=torch.arange(len(x)))
        with torch.no_grad():
            state = unrolled(build(f"{own}:steps={steps}"), problem)
    assert torch.equal(state.fooled, ~robust.bool())
    if loss == "dlr":  # in place of cross-entropy we climb a monotone function of it
        torch.testing.assert_close(state.memory[3], best_loss, rtol=0, atol=2e-3)
    assert 0 < int(state.fooled.sum()) < len(x)
