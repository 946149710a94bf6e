"""Norms: projections are nearest points, steepest points are maximisers, draws stay inside."""

import pytest
import torch
from torch import Tensor

from robustkit.draws import Draws
from robustkit.norms import NORMS
from robustkit.threat import ThreatModel

BUDGETS = {"l0": 4.0, "l1": 1.5, "l2": 0.6, "linf": 0.1}
EVERY_NORM = pytest.mark.parametrize("name", NORMS)
CONVEX = pytest.mark.parametrize("name", ["l1", "l2", "linf"])


def pictures(count: int = 6, seed: int = 0) -> Tensor:
    """Pictures with pixels at both walls: row 0 is all walls."""
    x = torch.rand(count, 2, 3, 4, generator=torch.Generator().manual_seed(seed))
    x[0] = (x[0] > 0.5).float()
    return x


def noise(like: Tensor, seed: int = 1) -> Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))


@EVERY_NORM
@pytest.mark.parametrize("size", [0.0, 0.02, 0.5, 30.0])
def test_projection_lands_inside_and_stays_there(name: str, size: float) -> None:
    x = pictures()
    threat = ThreatModel(name, BUDGETS[name])
    once = threat.project(x + size * noise(x), x)
    assert threat.violation(once, x).max() == 0
    assert torch.allclose(threat.project(once, x), once, atol=2e-6)


@EVERY_NORM
def test_projection_leaves_what_is_inside(name: str) -> None:
    x = pictures()
    threat = ThreatModel(name, BUDGETS[name])
    inside = threat.sample(x, Draws.keyed(0, torch.arange(len(x))))
    assert torch.allclose(threat.project(inside, x), inside, atol=1e-6)


@CONVEX
@pytest.mark.parametrize("size", [0.1, 1.0, 10.0])
def test_projection_is_the_nearest_point(name: str, size: float) -> None:
    """Variational inequality: no feasible q lies beyond p as seen from z, <z - p, q - p> <= 0."""
    x = pictures()
    threat = ThreatModel(name, BUDGETS[name])
    z = x + size * noise(x)
    p = threat.project(z, x)
    worst = threat.norm.steepest(z - p, threat.budget(x), threat.box(x)) + x
    gain = ((z - p) * (worst - p)).flatten(1).sum(1)
    assert gain.max() <= 2e-5 * size


@EVERY_NORM
def test_steepest_beats_every_other_point(name: str) -> None:
    x = pictures()
    threat = ThreatModel(name, BUDGETS[name])
    gradient = noise(x)
    best = threat.norm.steepest(gradient, threat.budget(x), threat.box(x))
    assert threat.violation(x + best, x).max() == 0
    value = (gradient * best).flatten(1).sum(1)
    for seed in range(40):
        far = threat.project(x + 5 * gradient * (seed % 7) + noise(x, seed + 2), x)
        assert (value >= (gradient * (far - x)).flatten(1).sum(1) - 1e-5).all()


@EVERY_NORM
def test_steepest_meets_the_budget_where_the_box_allows(name: str) -> None:
    x = torch.full((3, 1, 4, 4), 0.5)
    eps = torch.tensor([0.0, 1.0, 2.0]) if name != "linf" else torch.tensor([0.0, 0.1, 0.4])
    threat = ThreatModel(name, eps)
    step = threat.norm.steepest(noise(x), eps, threat.box(x))
    assert torch.allclose(threat.norm.size(step), eps, atol=1e-5)


def test_budgets_differ_by_sample() -> None:
    x = torch.full((3, 1, 4, 4), 0.5)
    eps = torch.tensor([0.0, 0.1, 0.3])
    moved = ThreatModel("l2", eps).project(x + 10 * noise(x), x)
    assert torch.allclose(ThreatModel("l2", eps).size(moved, x), eps, atol=1e-6)


@EVERY_NORM
def test_zero_gradient_is_no_step_and_no_nan(name: str) -> None:
    x = pictures()
    threat = ThreatModel(name, BUDGETS[name])
    step = threat.norm.steepest(torch.zeros_like(x), threat.budget(x), threat.box(x))
    assert torch.equal(step, torch.zeros_like(x))


@pytest.mark.parametrize(("name", "ratio"), [("l1", 0.5), ("l2", 0.5), ("linf", 0.5)])
def test_samples_fill_the_ball_evenly(name: str, ratio: float) -> None:
    """In n dimensions a share r^n of uniform draws lies within r of the radius."""
    x = torch.full((4000, 1, 1, 2), 0.5)
    threat = ThreatModel(name, 0.2)
    drawn = threat.sample(x, Draws.keyed(3, torch.arange(len(x))))
    share = (threat.size(drawn, x) <= 0.2 * ratio).float().mean()
    assert abs(float(share) - ratio**2) < 0.03
    assert abs(float((drawn - x).mean())) < 0.01


def test_a_mask_keeps_other_pixels() -> None:
    x = pictures()
    mask = torch.zeros(1, 1, 3, 4, dtype=torch.bool)
    mask[..., 1:, 2:] = True
    for name, eps in BUDGETS.items():
        threat = ThreatModel(name, eps, mask=mask)
        moved = threat.project(x + noise(x), x)
        outside = ~mask.expand_as(x)
        assert torch.equal(moved[outside], x[outside])
        assert threat.violation(moved, x).max() == 0
        assert (threat.violation(x + 0.5 * noise(x), x) > 0).all()
