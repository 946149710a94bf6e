"""Examples made on other models: judged once on the model under test, which pays one query."""

import pytest
import torch

from robustkit.attacks import build, pgd
from robustkit.attacks.transfer import fuse, transferred
from robustkit.audit.engine import Engine, Outcome, Task
from robustkit.errors import UserError
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.threat import ThreatModel
from tests.truth.closed_form import Known, linear

FAMILY = ["pgd", "mi-fgsm", "ni-fgsm", "si-ni-fgsm", "vmi-fgsm", "apgd-ce:steps=20"]


def attacked(it: Known, surrogates: list[Classifier], name: str = "mi-fgsm") -> Outcome:
    threat = ThreatModel("linf", it.errors.distance("linf").float() * 1.05)
    task = Task(it.model, it.x, Goal(it.y), threat, torch.arange(len(it.x)))
    with it.model.frozen():
        outcome = Engine().run(transferred(build(name), surrogates), task)
    assert threat.violation(outcome.x_adv, it.x).max() == 0
    with torch.no_grad():
        assert torch.equal(outcome.fooled, it.model(outcome.x_adv).argmax(1) != it.y)
    return outcome


@pytest.mark.parametrize("name", FAMILY)
def test_the_same_model_gives_everything_away(name: str) -> None:
    it = linear(2)
    outcome = attacked(it, [linear(2).model], name)
    assert outcome.fooled.all()
    assert (outcome.forwards, outcome.backwards) == (len(it.x), 0)


def test_the_fused_logits_are_the_mean() -> None:
    first, second = linear(4).model, linear(4, shift=3.0, slope=0.5).model
    x = linear(4).x
    with torch.no_grad():
        assert torch.allclose(fuse([first, second])(x), (first(x) + second(x)) / 2, atol=1e-6)


def test_an_ensemble_with_the_true_model_transfers_better_than_a_stranger() -> None:
    it, stranger = linear(4), linear(4).model
    stranger.module.weight.data = stranger.module.weight.data.flip(0)
    alone = attacked(it, [stranger])
    together = attacked(it, [stranger, linear(4).model, linear(4).model])
    assert together.fooled.sum() > alone.fooled.sum()


def test_the_surrogate_is_left_as_it_was() -> None:
    it, surrogate = linear(3), linear(3).model
    surrogate.module.train()
    attacked(it, [surrogate])
    assert surrogate.module.training
    assert all(p.requires_grad and p.grad is None for p in surrogate.module.parameters())
    assert surrogate.forwards == 0


def test_what_cannot_transfer_is_refused() -> None:
    with pytest.raises(UserError, match="fixed-budget"):
        transferred(build("fab"), [linear(3).model])
    with pytest.raises(UserError, match="at least one"):
        transferred(pgd(), [])
