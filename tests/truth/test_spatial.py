"""Moves are what they say, the worst of them is found, and the referee checks what was moved."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from robustkit.attacks import build
from robustkit.attacks.attack import Attack
from robustkit.audit.attacking import Result, judged
from robustkit.audit.engine import Engine, Task
from robustkit.distortions.warping import moved
from robustkit.errors import UserError
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

MOVES = ["rotation-translation:rotations=3,shifts=3", "worst-of-k:queries=12"]


def move(degrees: float = 0.0, right: float = 0.0, down: float = 0.0, count: int = 3) -> Tensor:
    return torch.tensor([[degrees, right, down]]).expand(count, 3)


def pictures(height: int = 6, width: int = 6) -> Tensor:
    return torch.rand(3, 2, height, width, generator=torch.Generator().manual_seed(0))


class LastColumn(nn.Module):
    """Class 1 if one pixel near the right edge is bright."""

    def forward(self, x: Tensor) -> Tensor:
        bright = x[:, 0, 2, 4]
        return torch.stack((torch.full_like(bright, 0.5), bright), 1)


def run(attack: Attack | str, x: Tensor, threat: str, **settings: int) -> Result:
    model, y = Classifier(LastColumn()), torch.zeros(len(x), dtype=torch.int64)
    task = Task(model, x, Goal(y), ThreatModel.parse(threat), torch.arange(len(x)))
    chosen = build(attack) if isinstance(attack, str) else attack
    with model.frozen():
        return judged(chosen, task, Engine(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_quarter_turns_are_exact(turns: int) -> None:
    x = pictures()
    assert torch.allclose(moved(x, move(90.0 * turns)), x.rot90(turns, (2, 3)), atol=1e-5)


def test_shifts_are_exact_and_bring_in_black() -> None:
    x = pictures(4, 7)
    shifted = moved(x, move(right=2, down=-1))
    assert torch.allclose(shifted[:, :, :3, 2:], x[:, :, 1:, :5], atol=1e-5)
    assert (shifted[:, :, 3].abs() < 1e-5).all()
    assert (shifted[:, :, :, :2].abs() < 1e-5).all()
    assert torch.allclose(moved(x, move(right=9), black=-1.0), torch.tensor(-1.0))


def test_half_a_pixel_is_the_mean_of_two_and_no_move_is_none() -> None:
    x = pictures()
    between = moved(x, move(right=0.5))[:, :, :, 1:]
    assert torch.allclose(between, (x[:, :, :, :-1] + x[:, :, :, 1:]) / 2, atol=1e-5)
    assert torch.equal(moved(x, move()), x)


def test_the_rotation_comes_before_the_shift_and_each_sample_has_its_own() -> None:
    x = pictures()
    many = torch.tensor([[0.0, 1.0, 0.0], [90.0, 0.0, 0.0], [180.0, 1.0, 0.0]])
    together = moved(x, many)
    for row in range(3):
        turned = x[row : row + 1].rot90(int(many[row, 0]) // 90, (2, 3))
        alone = moved(turned, move(right=float(many[row, 1]), count=1))
        assert torch.allclose(together[row], alone[0], atol=1e-4)


def test_the_one_move_of_the_grid_that_fools_is_found() -> None:
    """One bright pixel lies two to the left and one above the place that decides."""
    x = torch.zeros(2, 1, 5, 5)
    x[0, 0, 1, 2] = 1.0
    result = run("rotation-translation:rotations=1,shifts=5", x, "spatial:0,2", dropping=False)
    assert result.fooled.tolist() == [True, False]
    assert result.x_adv[0, 0, 2, 4] == pytest.approx(1.0, abs=1e-4)
    assert result.size[0] == 1
    assert result.forwards == 25 * 2
    assert not run("rotation-translation:rotations=1,shifts=5", x, "spatial:0,1").fooled.any()


def test_every_move_of_the_published_grid_is_looked_at() -> None:
    """31 angles times 5 times 5 shifts, all different, to the limits and no farther."""
    x, attack = pictures(8, 8)[:1], build("rotation-translation")
    model, goal = Classifier(LastColumn()), Goal(torch.ones(1, dtype=torch.int64))
    task = Task(model, x, goal, ThreatModel.parse("spatial:30,3"), torch.arange(1))
    problem = task.pose(torch.arange(1), 0, 0)
    state, seen = attack.init(problem), []
    for _ in range(attack.steps):
        seen.append(state.memory[0])
        state = attack.step(problem, state)
    moves = torch.cat(seen)
    assert len(moves.unique(dim=0)) == attack.steps == 775
    assert moves.amax(0).tolist() == [30, 3, 3]
    assert moves.amin(0).tolist() == [-30, -3, -3]
    assert (moves == 0).all(1).any()


@pytest.mark.parametrize("name", MOVES)
def test_a_budget_is_a_share_of_the_limits_and_a_mask_is_kept(name: str) -> None:
    x = pictures(5, 5)
    model, mask = Classifier(LastColumn()), torch.rand(3, 1, 5, 5) < 0.7
    eps = torch.tensor([0.0, 0.5, 1.0])
    threat = ThreatModel("spatial", eps, mask=mask, limits=(20.0, 2.0))
    task = Task(model, x, Goal(torch.ones(3, dtype=torch.int64)), threat, torch.arange(3))
    with model.frozen():
        outcome = Engine().run(build(name), task)
    assert outcome.made is not None
    most = eps[:, None] * torch.tensor([20.0, 2.0, 2.0])
    assert (outcome.made.abs() <= most + 1e-5).all()
    assert torch.equal(outcome.x_adv[0], x[0])
    kept = (~mask).expand_as(x)
    assert torch.equal(outcome.x_adv[kept], x[kept])
    assert threat.departure(outcome.x_adv, x, outcome.made).max() == 0


def test_the_referee_refuses_what_is_no_move_within_the_limits() -> None:
    """A brightened pixel, a move too far, and a claim without a move are no successes."""
    x = torch.zeros(2, 1, 5, 5)
    x[:, 0, 1, 2] = 1.0
    attack = build("rotation-translation:rotations=1,shifts=5")
    assert run(attack, x, "spatial:0,2").fooled.all()

    def painted(problem, state):  # type: ignore[no-untyped-def]
        state = attack.step(problem, state)
        bright = state.x_adv.clone()
        bright[:, 0, 2, 4] = 1.0
        return state._replace(x_adv=bright, fooled=torch.ones_like(state.fooled))

    for cheat in (
        replace(attack, step=painted),
        replace(attack, made=lambda state: 3 * state.memory[1]),
        replace(attack, made=None),
    ):
        result = run(cheat, x, "spatial:0,2")
        assert not result.fooled.any()
        assert result.lost.all()


@pytest.mark.parametrize(
    "text", ["spatial:30", "spatial:30,-1", "spatial:a,b", "flow:", "flow:1,2"]
)
def test_what_is_no_transformation_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="write for example"):
        ThreatModel.parse(text)


def test_a_threat_without_a_norm_says_what_it_is_and_has_no_ball() -> None:
    threat = ThreatModel.parse("spatial:30,3")
    assert (threat.text, threat.limits, threat.eps) == ("spatial:30,3", (30.0, 3.0), 1.0)
    assert threat.with_eps(0.5).text == "spatial:15,1.5"
    with pytest.raises(UserError, match="an attack or defense for spatial"):
        run("pgd", pictures(5, 5), "spatial:30,3")
