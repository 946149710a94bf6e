"""Patches for each picture, against linear models whose most vulnerable place is known."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import robustkit as rk
from robustkit.attacks import build
from robustkit.attacks.attack import pose, unrolled
from robustkit.errors import UserError
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

SHAPE = (3, 10, 14)
ROOM = 0.4
"""How far below the best gain the goal lies, as a share of the way to that of the second place."""


class Linear(nn.Module):
    """Two classes; the weights of class 1 are large in one rectangle, everywhere else small."""

    def __init__(self, top: int, left: int, gap: float) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(top + left)
        weight = torch.rand(*SHAPE, generator=generator) - 0.45
        weight[:, top : top + 3, left : left + 3] *= 4
        self.weight = nn.Parameter(weight)
        self.gap = gap

    def forward(self, x: Tensor) -> Tensor:
        value = (x * self.weight).sum((1, 2, 3))
        return torch.stack((torch.zeros_like(value), value - self.gap), 1)


def gains(weight: Tensor, x: Tensor) -> Tensor:
    """What the best paint gains in each 3 by 3 square, by hand, `[8, 12]`."""
    gain = (weight * ((weight > 0).float() - x)).sum(0)
    return torch.stack(
        [
            torch.stack([gain[i : i + 3, j : j + 3].sum() for j in range(SHAPE[2] - 2)])
            for i in range(SHAPE[1] - 2)
        ]
    )


def vulnerable(top: int, left: int) -> tuple[Classifier, Tensor, tuple[int, int]]:
    """A model, one picture of class 0, and the one place that a 3 by 3 patch must be put."""
    x = torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(1))
    module = Linear(top, left, 0.0)
    gain = gains(module.weight.detach(), x[0])
    best, second = gain.flatten().topk(2).values
    clean = float(module(x)[0, 1].detach())
    module.gap = clean + float(second + (best - second) * (1 - ROOM))
    place = divmod(int(gain.argmax()), gain.shape[1])
    return Classifier(module), x, (place[0], place[1])


def assert_exactly(x_adv: Tensor, x: Tensor, place: tuple[int, int]) -> None:
    """Only pixels of the 3 by 3 square at `place` differ."""
    outside = torch.ones(SHAPE[1:], dtype=torch.bool)
    outside[place[0] : place[0] + 3, place[1] : place[1] + 3] = False
    assert torch.equal(x_adv[0][:, outside], x[0][:, outside])
    assert not torch.equal(x_adv, x)


@pytest.mark.parametrize(("top", "left"), [(0, 0), (2, 9), (7, 11), (5, 4)])
@pytest.mark.parametrize(
    "text",
    [f"masked-{name}:steps=5{grid}" for name in ("pgd", "apgd") for grid in ("", ",grid=1")],
)
def test_the_most_vulnerable_place_is_found(top: int, left: int, text: str) -> None:
    model, x, place = vulnerable(top, left)
    result = rk.attack(text, model, x, torch.tensor([0]), "patch:3x3")
    assert bool(result.fooled)
    assert_exactly(result.x_adv, x, place)
    assert float(result.size) == pytest.approx(9 / 140)


@pytest.mark.parametrize(("top", "left"), [(0, 0), (7, 11)])
def test_a_black_box_finds_it_too(top: int, left: int) -> None:
    model, x, place = vulnerable(top, left)
    result = rk.attack("patch-rs:queries=800", model, x, torch.tensor([0]), "patch:3x3")
    assert bool(result.fooled)
    assert_exactly(result.x_adv, x, place)
    assert int(result.queries) <= 800
    assert result.backwards == 0


def test_a_smaller_patch_does_not_succeed() -> None:
    model, x, _ = vulnerable(5, 4)
    for text in ("masked-pgd", "masked-apgd", "patch-rs:queries=500"):
        result = rk.attack(text, model, x, torch.tensor([0]), "patch:2x3")
        assert not bool(result.fooled)


@pytest.mark.parametrize("name", ["masked-pgd", "masked-apgd"])
@pytest.mark.parametrize(("row", "column"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.25)])
def test_a_fixed_patch_stays_where_it_was_put(row: float, column: float, name: str) -> None:
    model, x, _ = vulnerable(5, 4)
    attack = build(f"{name}:steps=10,position=fixed,row={row},column={column}")
    index = torch.tensor([0])
    threat = ThreatModel.parse("patch:3x3")
    with model.frozen():
        state = unrolled(attack, pose(model, x, Goal(index), threat, index=index))
    assert_exactly(state.x_adv, x, (min(int(row * 8), 7), min(int(column * 12), 11)))


@pytest.mark.parametrize("name", ["masked-pgd", "masked-apgd"])
def test_random_places_differ_by_sample_and_restart(name: str) -> None:
    model, x, _ = vulnerable(5, 4)
    x = x.expand(6, -1, -1, -1)
    index, threat = torch.arange(6), ThreatModel.parse("patch:3x3")
    places = set()
    with model.frozen():
        for restart in (0, 1):
            goal = Goal(torch.zeros(6, dtype=torch.int64))
            problem = pose(model, x, goal, threat, index=index, restart=restart)
            state = build(f"{name}:position=random").init(problem)
            places |= {tuple(one.nonzero()[0].tolist()) for one in state.memory[0]}
    assert len(places) > 8


class Hidden(nn.Module):
    """Sensitive to bright paint in one rectangle, which no gradient shows before it is covered."""

    def forward(self, x: Tensor) -> Tensor:
        covered = (x[:, :, 4:7, 6:9].mean((1, 2, 3)) - 0.95).relu()
        value = 0.001 * x.sum((1, 2, 3)) + 1000 * covered - 1
        return torch.stack((torch.zeros_like(value), value), 1)


@pytest.mark.parametrize("name", ["masked-pgd", "masked-apgd"])
def test_every_restart_looks_at_other_places(name: str) -> None:
    """What lies between the places of one grid is found by the next ones."""
    x = torch.full((16, *SHAPE), 0.5)
    goal = torch.zeros(16, dtype=torch.int64)

    def found(restarts: int) -> int:
        text = f"{name}:steps=2,grid=3,restarts={restarts}"
        return int(rk.attack(text, Classifier(Hidden()), x, goal, "patch:3x3").fooled.sum())

    assert found(1) < 8
    assert found(60) >= 15


def test_a_mask_confines_the_patch() -> None:
    """Where the best place is out of reach, the best of those in reach is taken."""
    model, x, _ = vulnerable(0, 0)
    mask = torch.zeros(1, 1, *SHAPE[1:], dtype=torch.bool)
    mask[..., 5:9, 6:12] = True
    for text in ("masked-pgd", "masked-apgd", "patch-rs:queries=60"):
        threat = ThreatModel("patch", 9.0, sides=(3, 3), mask=mask)
        x_adv = rk.attack(text, model, x, torch.tensor([0]), threat).x_adv
        outside = ~mask.expand_as(x)
        assert torch.equal(x_adv[outside], x[outside])


def test_what_it_cannot_take_is_refused() -> None:
    with pytest.raises(UserError, match="position"):
        build("masked-pgd:position=best")


@pytest.mark.parametrize("suite", ["quick", "standard", "blackbox"])
def test_an_audit_under_a_patch(suite: str) -> None:
    settings: dict[str, Any] = {"suite": suite, "samples": 30}
    small = rk.audit("zoo:digits-standard", "zoo:digits", "patch:0.05", **settings)
    large = rk.audit("zoo:digits-standard", "zoo:digits", "patch:4x4", **settings)
    assert large.robust_accuracy < small.robust_accuracy <= small.clean_accuracy
    assert all(row.size <= 16 / 64 + 1e-6 for row in large.samples if row.outcome == "fooled")
    assert not sum(attack.lost_claims for attack in large.threats[0].attacks)
    assert large.trusted
