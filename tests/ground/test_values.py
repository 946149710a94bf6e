"""Threats, goals, losses, draws, preprocessing: small values with exact answers."""

import math

import pytest
import torch
from torch import nn

from robustkit.draws import Draws
from robustkit.errors import RefusedError, UserError
from robustkit.goal import Goal
from robustkit.losses import LOSSES, cross_entropy, dlr, log_odds, margin
from robustkit.model import Classifier
from robustkit.preprocess import Preprocess
from robustkit.threat import ThreatModel

LOGITS = torch.tensor([[2.0, -1.0, 0.5, 1.0], [-3.0, -1.0, -2.0, -5.0]])
Y = torch.tensor([0, 2])
TARGET = torch.tensor([3, 0])


@pytest.mark.parametrize("text", ["linf", "linf:", "linf:x", "l3:1", "linf:-1", "8/255", "l2:1/0"])
def test_what_is_no_threat_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="linf:8/255"):
        ThreatModel.parse(text)


def test_a_threat_is_read_exactly() -> None:
    threat = ThreatModel.parse("Linf:8/255")
    assert (threat.norm_name, threat.eps, threat.text) == ("linf", 8 / 255, "linf:8/255")
    assert ThreatModel.parse("l0:10").eps == 10


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("target", [None, TARGET])
def test_losses_are_larger_nearer_to_the_goal(name: str, target: torch.Tensor | None) -> None:
    goal = Goal(Y, target)
    away = LOGITS.clone()
    rows = torch.arange(2)
    away[rows, goal.label] += 1.0 if target is not None else -1.0
    assert (LOSSES[name](away, goal) > LOSSES[name](LOGITS, goal)).all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("shift", [50.0, -50.0])
def test_losses_do_not_see_a_shift_of_the_logits(name: str, shift: float) -> None:
    goal = Goal(Y)
    shifted = LOSSES[name](LOGITS + shift, goal)
    assert torch.allclose(shifted, LOSSES[name](LOGITS, goal), atol=1e-4)


def test_margin_is_positive_exactly_at_the_goal() -> None:
    assert torch.equal(margin(LOGITS, Goal(Y)), torch.tensor([-1.0, 1.0]))
    assert torch.equal(margin(LOGITS, Goal(Y, TARGET)), torch.tensor([-1.0, -2.0]))
    assert torch.equal(Goal(Y).reached(LOGITS), torch.tensor([False, True]))
    assert torch.equal(Goal(Y, torch.tensor([0, 1])).reached(LOGITS), torch.tensor([True, True]))


def test_log_odds_move_as_cross_entropy_does() -> None:
    """The gradients are parallel: one factor a sample."""
    gradients = []
    for loss in (log_odds, cross_entropy):
        logits = LOGITS.double().requires_grad_()
        gradients.append(torch.autograd.grad(loss(logits, Goal(Y)).sum(), logits)[0])
    cosine = nn.functional.cosine_similarity(*gradients)
    assert torch.allclose(cosine, torch.ones(2, dtype=torch.float64))


def test_log_odds_do_not_vanish_where_softmax_saturates() -> None:
    logits = (LOGITS * 1e4).requires_grad_()
    dead = torch.autograd.grad(cross_entropy(logits, Goal(torch.tensor([0, 1]))).sum(), logits)[0]
    alive = torch.autograd.grad(log_odds(logits, Goal(torch.tensor([0, 1]))).sum(), logits)[0]
    assert dead.abs().sum() == 0
    assert torch.allclose(alive.abs().sum(1), torch.tensor([2.0, 2.0]))


def test_dlr_matches_its_definition_and_falls_back() -> None:
    # Row 0 sorted: 2, 1, 0.5, -1; (z_other - z_y) / (z_1 - z_3).
    assert torch.allclose(dlr(LOGITS, Goal(Y))[0], torch.tensor((1.0 - 2.0) / (2.0 - 0.5)))
    two = LOGITS[:, :2]
    assert torch.equal(
        dlr(two, Goal(torch.tensor([0, 1]))), margin(two, Goal(torch.tensor([0, 1])))
    )
    three = LOGITS[:, :3]
    goal = Goal(torch.tensor([0, 1]), torch.tensor([1, 2]))
    assert torch.equal(dlr(three, goal), margin(three, goal))


def test_answers_that_are_not_finite_count_as_fooled() -> None:
    broken = torch.tensor([[1.0, math.nan], [math.inf, 0.0], [1.0, 0.0]])
    assert Goal(torch.zeros(3, dtype=torch.int64)).reached(broken).tolist() == [True, True, False]


def test_draws_depend_on_the_sample_alone() -> None:
    both = Draws.keyed(5, torch.tensor([3, 9]))
    swapped = Draws.keyed(5, torch.tensor([9, 3]))
    assert torch.equal(both.normal((4,)).flip(0), swapped.normal((4,)))
    assert not torch.equal(both.uniform((4,)), both.at(1).uniform((4,)))
    assert not torch.equal(both.uniform((4,)), Draws.keyed(6, both.key).uniform((4,)))


def test_draws_have_the_moments_they_should() -> None:
    draws = Draws.keyed(0, torch.arange(3))
    assert torch.allclose(draws.uniform((40000,)).mean(1), torch.full((3,), 0.5), atol=0.01)
    assert torch.allclose(draws.normal((40000,)).std(1), torch.ones(3), atol=0.02)
    assert torch.allclose(draws.signs((40000,)).mean(1), torch.zeros(3), atol=0.02)
    counts = draws.integers(5, (10000,)).flatten().bincount(minlength=5)
    assert counts.min() > 5700
    assert abs(float(torch.corrcoef(draws.uniform((40000,)))[0, 1])) < 0.02


@pytest.mark.parametrize("text", ["nope", "mean=1", "mean=0.5;std=0", "mean=a;std=b", "size=axb"])
def test_what_is_no_preprocessing_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        Preprocess.parse(text)


def test_preprocessing_normalises_resizes_and_says_so() -> None:
    chosen = Preprocess.parse("mean=0.5,0.4,0.3;std=0.2,0.2,0.1;size=4x6")
    out = chosen.apply(torch.full((1, 3, 8, 8), 0.5))
    assert out.shape == (1, 3, 4, 6)
    assert torch.allclose(out[0, :, 0, 0], torch.tensor([0.0, 0.5, 2.0]), atol=1e-6)
    with pytest.raises(UserError, match="channels"):
        chosen.apply(torch.zeros(1, 1, 8, 8))


class Odd(nn.Module):
    """A model with dropout, a frozen batch norm and one weight that needs no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(16, 3)
        self.norm.eval()
        self.head.bias.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.drop(self.norm(x)).flatten(1))
        return out


def test_a_model_is_left_as_it_was_found() -> None:
    module = Odd()
    modes = [part.training for part in module.modules()]
    state = {name: value.clone() for name, value in module.state_dict().items()}
    model = Classifier(module)
    torch.manual_seed(4)
    expected = torch.rand(1)
    torch.manual_seed(4)
    with model.frozen():
        assert not any(part.training for part in module.modules())
        with torch.enable_grad():
            x = torch.rand(2, 1, 4, 4, requires_grad=True)
            model.gradient(model(x).sum(1), x)
        torch.rand(3)
    assert torch.equal(torch.rand(1), expected)
    assert [part.training for part in module.modules()] == modes
    assert [p.requires_grad for p in module.parameters()] == [True, True, True, False]
    assert all(p.grad is None for p in module.parameters())
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert (model.forwards, model.backwards) == (2, 2)


def test_an_answer_that_is_no_matrix_of_logits_is_refused() -> None:
    with pytest.raises(RefusedError, match="logits"):
        Classifier(nn.Flatten(0))(torch.zeros(2, 1, 2, 2))
