"""The divergence climbs away from what is said of the clean picture, label or not."""

from inspect import signature

import pytest
import torch

from robustkit.attacks import build, catalogue
from robustkit.attacks.attack import pose, unrolled
from robustkit.audit.attacking import attack
from robustkit.errors import UserError
from robustkit.goal import Goal
from robustkit.losses import LOSSES, kl
from robustkit.threat import ThreatModel
from tests.truth.closed_form import Known, linear


def divergence(it: Known, x_adv: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return kl(it.model(it.x).softmax(1), it.model(x_adv))


def test_kl_is_what_it_is_called() -> None:
    belief, logits = torch.tensor([[0.2, 0.8, 0.0]]), torch.tensor([[1.0, -1.0, 0.5]])
    p = logits.softmax(1)
    wanted = 0.2 * (0.2 / p[0, 0]).log() + 0.8 * (0.8 / p[0, 1]).log()
    assert kl(belief, logits)[0] == pytest.approx(float(wanted), rel=1e-5)
    assert kl(logits.softmax(1), logits + 7)[0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_of_two_classes_the_farthest_answer_is_found(norm: str) -> None:
    """A linear model of two classes: the divergence is highest at one of two corners."""
    it, eps = linear(2), {"linf": 0.05, "l2": 0.3}[norm]
    threat = ThreatModel(norm, eps)
    problem = pose(it.model, it.x, Goal(1 - it.y), threat, index=torch.arange(len(it.x)))
    with it.model.frozen(), torch.no_grad():
        # The goal is reached already: the best is what counts, so nobody may be fooled.
        state = unrolled(build("pgd:loss=trades-kl,steps=30"), problem._replace(goal=_never(it)))
    found = divergence(it, state.x_adv)
    gradient = (it.model.module.weight[1, 0] - it.model.module.weight[0, 0]).detach()
    ends = torch.stack([
        divergence(it, problem.steepest(sign * gradient.expand(len(it.x), -1).reshape(it.x.shape)))
        for sign in (1, -1)
    ])  # fmt: skip
    # It climbs one of the two sides of a valley; which one, the noise decides.
    near, far = ends.amin(0), ends.amax(0)
    assert (found <= far * 1.001).all()
    assert (found >= near * 0.97).all()


class _Never(Goal):
    def reached(self, logits: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(logits), dtype=torch.bool)


def _never(it: Known) -> Goal:
    return _Never(it.y)


def test_it_fools_and_costs_one_look_a_step_and_one_before() -> None:
    it = linear(4)
    threat = ThreatModel("linf", it.errors.distance("linf").float() * 1.3)
    result = attack("pgd:loss=trades-kl,steps=20,restarts=2", it.model, it.x, it.y, threat)
    assert result.fooled.float().mean() > 0.7
    assert not result.lost.any()
    assert result.queries.max() <= 2 * (20 + 2)
    aimed = attack(
        "pgd:loss=trades-kl,steps=20", it.model, it.x, it.y,
        ThreatModel("linf", 0.5), target=(it.y + 1) % 4,
    )  # fmt: skip
    assert aimed.fooled.all()


def test_every_loss_can_be_chosen_and_none_else() -> None:
    """Wherever an attack takes a loss, it takes the probability margin."""
    for name, row in catalogue().items():
        if "loss" in signature(row.build).parameters:
            assert build(f"{name}:loss=probability-margin").settings["loss"] == "probability-margin"
            with pytest.raises(UserError, match="probability-margin"):
                build(f"{name}:loss=hinge")
    assert "probability-margin" in LOSSES
