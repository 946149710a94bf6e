"""The patch as a threat: one rectangle, anywhere; nothing outside of it changes."""

import pytest
import torch
from torch import Tensor

from robustkit.attacks.attack import pose
from robustkit.draws import Draws
from robustkit.errors import UserError
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.rectangle import Rectangle, best_place, patch_norm, sides
from robustkit.report.threat_picture import threat_picture
from robustkit.report.threats import words
from robustkit.threat import ThreatModel

SHAPE = (3, 9, 12)


def pictures(count: int = 5, seed: int = 0) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def noise(like: Tensor, seed: int = 1) -> Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))


def every_place(text: str) -> list[tuple[int, int, int, int]]:
    """All the rectangles that a threat allows, by hand: top, left, bottom, right."""
    high, wide = {"patch:0.1": (3, 3), "patch:3x5": (3, 5), "patch:9x2": (9, 2)}[text]
    tops, lefts = range(SHAPE[1] - high + 1), range(SHAPE[2] - wide + 1)
    return [(top, left, top + high, left + wide) for top in tops for left in lefts]


@pytest.mark.parametrize("text", ["patch:0.05", "patch:1/8", "patch:32x32", "patch:3x5"])
def test_it_is_read_and_written(text: str) -> None:
    assert ThreatModel.parse(text).text == text
    assert "patch" in words(text)
    assert "one patch" in threat_picture(text)


@pytest.mark.parametrize(
    "text", ["patch", "patch:0", "patch:1.5", "patch:-1", "patch:0x3", "patch:3x", "patch:nan"]
)
def test_what_is_no_patch_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="patch"):
        ThreatModel.parse(text)


def test_a_patch_larger_than_the_picture_is_refused() -> None:
    with pytest.raises(UserError, match="9x12"):
        ThreatModel.parse("patch:10x4").budget(pictures())


@pytest.mark.parametrize("text", ["patch:0.1", "patch:3x5", "patch:9x2"])
def test_the_nearest_and_the_steepest_point_beat_those_of_every_place(text: str) -> None:
    x, threat = pictures(), ThreatModel.parse(text)
    z = x + noise(x)
    got = threat.project(z, x)
    assert threat.violation(got, x).max() == 0
    gradient = noise(x, 7)
    top = threat.norm.steepest(gradient, threat.budget(x), threat.box(x)) + x
    assert threat.violation(top, x).max() == 0
    nearest, value = [], []
    wall = (gradient > 0).float()
    for a, b, c, d in every_place(text):
        inside = torch.zeros(1, 1, *SHAPE[1:], dtype=torch.bool)
        inside[:, :, a:c, b:d] = True
        nearest.append((torch.where(inside, z.clamp(0, 1), x) - z).square().sum((1, 2, 3)))
        value.append((gradient * (wall - x) * inside).sum((1, 2, 3)))
    best = torch.stack(nearest).amin(0)
    assert torch.allclose((got - z).square().sum((1, 2, 3)), best, rtol=1e-5)
    assert torch.allclose((gradient * (top - x)).sum((1, 2, 3)), torch.stack(value).amax(0))


def test_size_is_the_share_of_the_rectangle_around_what_changed() -> None:
    delta = torch.zeros(4, *SHAPE)
    delta[1, 2, 3, 4] = -1e-6
    delta[2, 0, 2, 1] = delta[2, 1, 4, 5] = 1
    delta[3, :, :, 0] = 1
    assert patch_norm().size(delta).mul(108).tolist() == pytest.approx([0, 1, 25, 81])
    size = patch_norm((3, 5)).size(delta).mul(108)
    assert size.tolist() == pytest.approx([0, 15 / 9, 15, 135])


def test_a_point_more_than_the_rectangle_is_a_violation() -> None:
    x = pictures(1)
    threat = ThreatModel.parse("patch:3x5")
    inside, outside = x.clone(), x.clone()
    inside[:, :, 4:7, 5:10] = 0.5
    outside[:, :, 4:7, 5:10] = 0.5
    outside[:, 0, 7, 5] = 0.5
    bright = inside.clone()
    bright[:, 0, 5, 5] = 1.1
    assert threat.violation(inside, x) == 0
    assert threat.violation(outside, x) > 0
    assert threat.violation(bright, x) > 0


@pytest.mark.parametrize("text", ["patch:0.1", "patch:3x5"])
def test_outside_its_rectangle_not_one_pixel_differs(text: str) -> None:
    x, threat = pictures(40), ThreatModel.parse(text)
    drawn = threat.sample(x, Draws.keyed(0, torch.arange(40)))
    assert threat.violation(drawn, x).max() == 0
    high, wide = sides(x, threat.budget(x), threat.shape)
    changed = (drawn != x).any(1)
    assert (changed.sum((1, 2)) <= high * wide).all()
    assert len({tuple(c.nonzero()[0].tolist()) for c in changed}) > 10


def test_masks_and_budgets_differ_by_sample() -> None:
    x = pictures(4)
    mask = torch.zeros(4, 1, *SHAPE[1:], dtype=torch.bool)
    for k in range(4):
        mask[k, :, k : k + 3, k : k + 4] = True
    threat = ThreatModel("patch", torch.tensor([0.0, 0.05, 0.1, 0.2]), mask=mask)
    model = Classifier(torch.nn.Linear(2, 2))
    index = torch.arange(4)
    problem = pose(model, x, Goal(index), threat, index=index).take(torch.tensor([3, 0, 1]))
    point = problem.project(problem.x + noise(problem.x))
    assert threat.take(torch.tensor([3, 0, 1])).violation(point, problem.x).max() == 0
    assert torch.equal(point[1], x[0])
    assert not torch.equal(point[0], x[3])
    outside = ~mask[[3, 0, 1]].expand_as(point)
    assert torch.equal(point[outside], problem.x[outside])


def test_the_best_place_is_where_the_gain_is() -> None:
    gain = torch.zeros(1, *SHAPE)
    gain[0, :, 4:6, 7:9] = 1
    found = best_place(gain, torch.tensor([4.0 / 108]), (1, 1))
    assert [int(part) for part in found] == [4, 7, 2, 2]
    mask = Rectangle(*found).mask(gain)
    assert torch.equal(mask.expand_as(gain), gain > 0)
