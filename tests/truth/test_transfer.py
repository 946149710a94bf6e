"""Examples made on other models: judged once on the model under test, which pays one query."""

import pytest
import torch

import robustkit as rk
from robustkit.attacks import build, pgd
from robustkit.attacks.cascades import suite
from robustkit.attacks.transfer import fuse, transferred
from robustkit.audit.engine import Engine, Outcome, Task
from robustkit.errors import PlanErrors, UserError
from robustkit.goal import Goal
from robustkit.loading.samples import Samples
from robustkit.model import Classifier
from robustkit.records import AuditLog
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


def audited(model: Classifier, **settings: object) -> AuditLog:
    """Pictures of a linear model under a budget within which all can be fooled."""
    it = linear(2)
    eps = float(it.errors.distance("linf").max() * 1.05)
    samples = Samples.of((it.x * 255).round().byte(), it.y)
    return rk.audit(model, samples, f"linf:{eps:.6f}", **settings)  # type: ignore[arg-type]


def surrogate() -> torch.nn.Module:
    """What `py:` loads: the very model under test, with a gradient."""
    return linear(2).model.module


HERE = f"py:{__name__}:surrogate"


def test_the_suite_needs_nothing_of_a_model_but_one_answer_a_picture() -> None:
    """A service that gives scores only, attacked by way of a copy of it, loses all pictures."""
    model = linear(2).model
    model.access = "scores"
    log = audited(model, suite="transfer", surrogate=[HERE, HERE])
    (threat,) = log.threats
    assert [one.name for one in threat.attacks] == list(suite("transfer", "linf").attacks)
    for one in threat.attacks:
        assert (one.forwards, one.backwards) == (one.attempted, 0)
        assert one.access == "decisions"
        # Blurring or resizing what it sees costs an attack on a linear model some of its strength.
        blunt = one.name.startswith(("ti", "di"))
        assert one.robust_accuracy_alone is not None
        assert one.robust_accuracy_alone <= (0.5 if blunt else 0)
    assert model.surrogate is None, "the audit keeps what it was given to itself"
    assert log.plan["surrogate"] == [HERE, HERE]


def test_without_a_surrogate_the_suite_says_what_is_missing() -> None:
    with pytest.raises(PlanErrors, match="--surrogate MODEL"):
        audited(linear(2).model, suite="transfer")
    with pytest.raises(UserError, match="--surrogate MODEL"):
        rk.attack("mi-fgsm@surrogate", linear(2).model, linear(2).x, linear(2).y, "linf:0.1")
