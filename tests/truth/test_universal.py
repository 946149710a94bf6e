"""On a linear model the best shared perturbation is known: everyone within its reach falls."""

import pytest
import torch
from torch import Tensor, nn

from robustkit.attacks.universal import Universal, universal_perturbation
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

DUAL = {"linf": 1, "l2": 2, "l1": torch.inf}


def model_of(classes: int) -> Classifier:
    head = nn.Linear(24, classes)
    generator = torch.Generator().manual_seed(classes)
    head.weight.data = torch.randn(head.weight.shape, generator=generator)
    head.bias.data = -head.weight.data.sum(1) / 2
    return Classifier(nn.Sequential(nn.Flatten(), head))


def pictures(count: int = 60) -> Tensor:
    """Far enough from the walls that no perturbation of these tests meets one."""
    drawn = torch.rand(count, 2, 3, 4, generator=torch.Generator().manual_seed(1))
    return 0.35 + 0.3 * drawn


def found(model: Classifier, x: Tensor, goal: Goal, threat: ThreatModel) -> Universal:
    with model.frozen():
        return universal_perturbation(model, x, goal, threat, steps=20, batch_size=16)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.04), ("l2", 0.15), ("l1", 0.3)])
def test_of_one_class_everyone_falls_who_can(norm: str, eps: float) -> None:
    model, x, threat = model_of(2), pictures(), ThreatModel(norm, eps)
    with torch.no_grad():
        logits = model(x)
    x, gap = x[logits[:, 0] > logits[:, 1]], (logits[:, 0] - logits[:, 1])
    gap = gap[gap > 0]
    goal = Goal(torch.zeros(len(x), dtype=torch.int64))
    slope = (model.module[1].weight[1] - model.module[1].weight[0]).detach()
    reach = eps * torch.linalg.vector_norm(slope, ord=DUAL[norm])
    result = found(model, x, goal, threat)
    assert 0 < (gap < reach).sum() < len(x)
    assert (result.fooled == (gap < reach)).float().mean() > 0.94
    assert not result.fooled[gap > reach].any()


def test_a_shared_target_is_reached_and_budget_and_mask_are_kept() -> None:
    model, x = model_of(4), pictures()
    mask = torch.rand(1, 1, 3, 4, generator=torch.Generator().manual_seed(2)) < 0.7
    threat = ThreatModel("linf", 0.2, mask=mask)
    with torch.no_grad():
        y = model(x).argmax(1)
    x, y = x[y != 3], y[y != 3]
    goal = Goal(y, torch.full_like(y, 3))
    result = found(model, x, goal, threat)
    x_adv = result.apply(x, threat)
    assert threat.violation(x_adv, x).max() == 0
    with torch.no_grad():
        assert torch.equal(model(x_adv).argmax(1) == 3, result.fooled)
    assert result.fooled.float().mean() > 0.9
    assert torch.equal(x_adv[:, :, ~mask[0, 0]], x[:, :, ~mask[0, 0]])


def test_it_holds_for_pictures_it_has_not_seen_and_is_repeatable() -> None:
    model, x, threat = model_of(4), pictures(120), ThreatModel("linf", 0.15)
    with torch.no_grad():
        y = model(x).argmax(1)
    goal, seen = Goal(y), torch.arange(60)
    result = found(model, x[seen], goal.take(seen), threat)
    with torch.no_grad():
        fooled = model(result.apply(x[60:], threat)).argmax(1) != y[60:]
    assert fooled.float().mean() > 0.6
    assert abs(float(fooled.float().mean() - result.fooled.float().mean())) < 0.2
    assert torch.equal(found(model, x[seen], goal.take(seen), threat).delta, result.delta)
