"""Attacks and training keep to the model's device."""

import contextlib
from dataclasses import replace

import pytest
import torch
from torch.utils._pytree import tree_leaves

from robustkit import precision
from robustkit.defenses.denoise import denoiser
from robustkit.defenses.denoise.guarded import guarded
from robustkit.defenses.ibp import check
from robustkit.defenses.training.objectives import OBJECTIVES, takes
from robustkit.defenses.training.recipe import PATCHES, Recipe
from robustkit.defenses.training.stream import Stream
from robustkit.defenses.training.trainer import Trainer
from robustkit.errors import UserError
from robustkit.loading.samples import Samples
from robustkit.model import Classifier
from robustkit.threat import ThreatModel
from tests.contract.cases import CASES, COUNT, net, quick, task
from tests.contract.devices import ELSEWHERE, OneDevice


@pytest.fixture(autouse=True)
def without_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "SINGLE", {ELSEWHERE.type})


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_an_attack_keeps_to_the_device(name: str, norm: str) -> None:
    attack = quick(name)
    if attack.prepare:
        pytest.skip("what is prepared looks at numbers, which this device does not have")
    work = task(norm)
    model = Classifier(work.model.module.float(), device=ELSEWHERE)
    work = replace(work, model=model)
    with OneDevice(), work.model.frozen(), torch.set_grad_enabled(attack.gradient):
        problem = work.pose(torch.arange(COUNT), 0, 0)
        state = attack.step(problem, attack.step(problem, attack.init(problem)))
        state = attack.finish(problem, state) if attack.finish else state
    assert {part.device.type for part in tree_leaves(state)} == {ELSEWHERE.type}


@pytest.fixture
def unhindered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what torch has for devices of real memory only: autocast, generators, fused steps."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(Stream, "_generator", lambda _: None)
    for optimizer in (torch.optim.SGD, torch.optim.AdamW):
        monkeypatch.setattr(optimizer, "step", lambda _: None)


@pytest.mark.usefixtures("unhindered")
@pytest.mark.parametrize("name", OBJECTIVES)
def test_training_keeps_to_the_device(name: str) -> None:
    if name in ("e-at", "masked"):
        pytest.skip("the host waits for a number: which threat it is, how large a mask")
    model = net((3, 16, 16))
    model = Classifier(model.module.float(), device=ELSEWHERE)
    if name.startswith("denoise-"):
        model = guarded(denoiser("dncnn", 3).to(ELSEWHERE), model)
    data = Samples(
        torch.zeros(80, 3, 16, 16, dtype=torch.uint8), torch.zeros(80, dtype=torch.int64),
        tuple(map(str, range(80))),
    )  # fmt: skip
    threat = ThreatModel("patch" if name in PATCHES else "linf", 0.1)
    others = ("l2:0.5",) if takes(name, "others") else ()
    recipe = Recipe(objective=name, batch_size=16, others=others)
    with OneDevice():
        trainer = Trainer(model, data, threat, recipe, seed=0)
        loss = [trainer.advance() for _ in range(2)][-1]
    assert loss.device == ELSEWHERE
    assert all(weight.grad is None or weight.grad.device == ELSEWHERE for weight in trainer.weights)


def test_interval_bounds_ask_for_float64() -> None:
    with pytest.raises(UserError, match="a device with float64"):
        check(net().on(ELSEWHERE), ThreatModel("linf", 0.1))


def test_exact_numbers_are_those_of_the_device() -> None:
    x = torch.zeros(2)
    assert precision.exact(x).dtype == torch.float64
    assert precision.exact(x.to(ELSEWHERE)).dtype == torch.float32


def test_float64_is_seen() -> None:
    with OneDevice(), pytest.raises(AssertionError, match="gave float64"):
        torch.zeros(3, device=ELSEWHERE).double()


def test_a_tensor_left_on_the_host_is_seen() -> None:
    x = torch.zeros(3, device=ELSEWHERE)
    with OneDevice():
        assert (x + torch.tensor(1.0)).device == ELSEWHERE
        assert torch.zeros(3).to(ELSEWHERE).device == ELSEWHERE
        with pytest.raises(RuntimeError, match="cpu and meta"):
            x[torch.zeros(2, dtype=torch.int64)]
