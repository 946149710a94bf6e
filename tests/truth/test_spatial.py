"""Moves are what they say, and the worst of them is found."""

import pytest
import torch
from torch import Tensor, nn

from robustkit.attacks.spatial import Move, moved, worst_of_grid, worst_of_random
from robustkit.draws import Draws
from robustkit.goal import Goal
from robustkit.model import Classifier


def move(degrees: float = 0.0, right: float = 0.0, down: float = 0.0, count: int = 3) -> Move:
    one = torch.ones(count)
    return degrees * one, right * one, down * one


def pictures(height: int = 6, width: int = 6) -> Tensor:
    return torch.rand(3, 2, height, width, generator=torch.Generator().manual_seed(0))


class LastColumn(nn.Module):
    """Class 1 if the middle row's last pixel is bright."""

    def forward(self, x: Tensor) -> Tensor:
        bright = x[:, 0, 2, 4]
        return torch.stack((torch.full_like(bright, 0.5), bright), 1)


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


def test_half_a_pixel_is_the_mean_of_two() -> None:
    x = pictures()
    between = moved(x, move(right=0.5))[:, :, :, 1:]
    assert torch.allclose(between, (x[:, :, :, :-1] + x[:, :, :, 1:]) / 2, atol=1e-5)


def test_the_rotation_comes_before_the_shift_and_each_sample_has_its_own() -> None:
    x = pictures()
    many = torch.tensor([0.0, 90.0, 180.0]), torch.tensor([1.0, 0.0, 1.0]), torch.zeros(3)
    together = moved(x, many)
    for row in range(3):
        turned = x[row : row + 1].rot90(int(many[0][row]) // 90, (2, 3))
        alone = moved(turned, move(right=float(many[1][row]), count=1))
        assert torch.allclose(together[row], alone[0], atol=1e-4)


def test_the_one_move_of_the_grid_that_fools_is_found() -> None:
    """One bright pixel lies two to the left and one above the place that decides."""
    x = torch.zeros(2, 1, 5, 5)
    x[0, 0, 1, 2] = 1.0
    model, goal = Classifier(LastColumn()), Goal(torch.zeros(2, dtype=torch.int64))
    worst = worst_of_grid(model, x, goal, degrees=0.0, pixels=2.0, grid=(1, 5))
    assert worst.fooled.tolist() == [True, False]
    assert (worst.degrees[0], worst.right[0], worst.down[0]) == (0, 2, 1)
    assert worst.margin[0] == pytest.approx(0.5, abs=1e-4)
    assert torch.equal(model(worst.x_adv).argmax(1), torch.tensor([1, 0]))
    assert model.forwards == 25 * 2 + 2


def test_random_moves_belong_to_the_sample_and_stay_in_the_budget() -> None:
    x, model = pictures(5, 5), Classifier(LastColumn())
    goal, draws = Goal(torch.zeros(3, dtype=torch.int64)), Draws.keyed(0, torch.arange(3))
    together = worst_of_random(model, x, goal, draws=draws, degrees=20.0, pixels=1.0)
    row = torch.tensor([1])
    alone = worst_of_random(
        model, x[row], goal.take(row), draws=draws.take(row), degrees=20.0, pixels=1.0
    )
    assert torch.equal(alone.x_adv[0], together.x_adv[1])
    assert (together.degrees.abs() <= 20).all()
    assert (torch.stack(together[4:]).abs() <= 1).all()
    assert len(set(together.degrees.tolist())) == 3
