"""Every minimum-norm attack finds the closest point of models where it is known."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from robustkit.attacks import build
from robustkit.audit.attacking import attack as judge
from robustkit.audit.engine import Engine, Outcome, Task
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.threat import ThreatModel
from tests.truth.closed_form import Known, closest_in_linf, linear, pieces

# How each attack is run here, and in which norms. The defaults reach the optimum too, later.
ATTACKS = {
    "deepfool": ("l2", "linf"),
    "sigma-zero:steps=300": ("l0",),
    "pdpgd:steps=400": ("l1",),
    "pdpgd:steps=150": ("l2", "linf"),
    "carlini-wagner:steps=450,step_size=0.01": ("l2", "linf"),
    "rays:queries=700": ("linf",),
    "ddn:steps=100": ("l2",),
    "fmn:steps=100": ("l0", "l1", "l2", "linf"),
    "ead:steps=900": ("l1",),
    "min-pgd": ("l1", "l2", "linf"),
    "min-apgd-t:steps=15,targets=1,rounds=8": ("linf",),
    "jsma:steps=30": ("l0",),
    "lbfgs:steps=300": ("l2",),
}
CASES = [(attack, norm) for attack, norms in ATTACKS.items() for norm in norms]
MODELS = {
    "2 classes": lambda: linear(2),
    "4 classes, bent": lambda: linear(4, slope=0.3),
    "10 classes, all logits negative": lambda: linear(10, shift=-50.0),
    "3 classes, black and white": lambda: linear(3, black_and_white=True),
    "pieces": lambda: pieces(4),
}


@cache
def known(name: str) -> Known:
    return MODELS[name]()


def attacked(attack: str, it: Known, norm: str) -> Outcome:
    task = Task(it.model, it.x, Goal(it.y), ThreatModel(norm, 0.01), torch.arange(len(it.x)))
    with it.model.frozen():
        return Engine().run(build(attack), task)


def ratios(outcome: Outcome, it: Known, norm: str) -> torch.Tensor:
    """Size over optimum, after checking that each is a success of that size, inside the walls."""
    with torch.no_grad():
        assert (it.model(outcome.x_adv).argmax(1) != it.y)[outcome.fooled].all()
    measured = ThreatModel(norm, 0.0).size(outcome.x_adv, it.x)
    assert torch.equal(measured[outcome.fooled], outcome.size[outcome.fooled])
    assert outcome.x_adv.min() >= 0
    assert outcome.x_adv.max() <= 1
    return outcome.size / it.errors.distance(norm)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("attack", "norm"), CASES)
def test_the_closest_point_is_found(attack: str, norm: str, model: str) -> None:
    it = known(model)
    outcome = attacked(attack, it, norm)
    ratio = ratios(outcome, it, norm)
    assert outcome.fooled.all()
    assert ratio.median() <= 1.05
    assert ratio.min() >= 1 - 1e-4, "better than the optimum: the truth is wrong"


# At default settings, where those are more than the tests above can wait for. HopSkipJump gets 4000
# of its 10000 queries.
PATIENT = [
    ("ead", "l1"),
    ("hop-skip-jump:queries=4000", "l2"),
    ("hop-skip-jump:queries=4000", "linf"),
]
CLASSES = (2, 3, 4, 10)


@pytest.mark.slow
@pytest.mark.parametrize("make", [linear, pieces])
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize(("attack", "norm"), PATIENT)
def test_the_closest_point_is_found_at_default_settings(
    attack: str, norm: str, classes: int, make: Callable[[int], Known]
) -> None:
    it = make(classes)
    outcome = attacked(attack, it, norm)
    ratio = ratios(outcome, it, norm)
    assert outcome.fooled.all()
    assert ratio.median() <= 1.05
    assert ratio.min() >= 1 - 1e-4


@pytest.mark.parametrize("attack", ["ddn:steps=100", "fmn:steps=100", "deepfool"])
def test_a_minimum_norm_attack_answers_a_budget(attack: str) -> None:
    """With the median distance for a budget, those closer are fooled and the others are not."""
    it = known("2 classes")
    distance = it.errors.distance("l2")
    eps = float(distance.median() * 1.03)
    result = judge(build(attack), it.model, it.x, it.y, ThreatModel("l2", eps))
    assert result.fooled[distance <= eps / 1.03].all()
    assert not result.fooled[distance > eps].any()
    assert not result.lost.any()
    assert 0 < result.fooled.sum() < len(it.x)


def test_a_target_is_reached_on_the_shortest_way() -> None:
    """Of three linear logits the target must exceed both others: a linear program in linf."""
    it = known("3 classes, black and white")
    target = (it.y + 1) % 3
    goal = Goal(it.y, target)
    task = Task(it.model, it.x, goal, ThreatModel("linf", 0.01), torch.arange(len(it.x)))
    best = torch.tensor([closest_in_linf(it, row, int(target[row])) for row in range(len(it.x))])
    for attack in ("deepfool", "fmn:steps=100", "carlini-wagner:steps=450,step_size=0.01"):
        with it.model.frozen():
            outcome = Engine().run(build(attack), task)
        assert outcome.fooled.all()
        ratio = outcome.size / best
        assert ratio.min() > 1 - 1e-4
        assert ratio.median() < 1.05
        with torch.no_grad():
            assert torch.equal(it.model(outcome.x_adv).argmax(1), target)


class Bent(nn.Module):
    """Class 1 where the mean pixel's square is above 1/4: steeper the farther one goes."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits `[B,2]` of `x` `[B,C,H,W]`."""
        above = x.mean((1, 2, 3)).square() - 0.25
        return torch.stack((-above, above), 1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_what_deepfool_has_gone_too_far_is_taken_back(norm: str) -> None:
    """From 0.3 its first step goes a third too far."""
    x = torch.full((3, 1, 4, 4), 0.3) + torch.tensor([0.0, 0.02, 0.05])[:, None, None, None]
    y, threat = torch.zeros(3, dtype=torch.long), ThreatModel(norm, 0.9)
    result = judge("deepfool", Classifier(Bent()), x, y, threat)
    best = (0.5 - x.flatten(1).mean(1)) * (1 if norm == "linf" else 4)
    assert result.fooled.all()
    assert ((result.size / best) > 1).all()
    assert ((result.size / best) < 1.02).all()
