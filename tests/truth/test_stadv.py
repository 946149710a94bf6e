"""On a ramp every pixel's change is its displacement, so the best flow is known."""

import pytest
import torch
from torch import Tensor, nn

from robustkit.attacks import stadv
from robustkit.attacks.stadv import roughness
from robustkit.audit.attacking import Result, judged
from robustkit.audit.engine import Engine, Task
from robustkit.distortions.warping import bent, flowed
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

SLOPE, SIDE, COUNT = 0.1, 6, 40


def weights() -> Tensor:
    drawn = torch.randn(SIDE * SIDE, generator=torch.Generator().manual_seed(1))
    return (drawn + 0.5).reshape(SIDE, SIDE)


def gains(eps: float) -> float:
    """What the best flow adds: no source lies beyond the first and the last column."""
    weight = weights()
    room = torch.full((SIDE, SIDE), eps)
    room[:, 0] *= weight[:, 0] > 0
    room[:, -1] *= weight[:, -1] < 0
    return float((weight.abs() * room).sum() * SLOPE)


def attacked(eps: float, **settings: float) -> tuple[Result, Tensor, float]:
    """The attack on ramps of class 0, what each is short of class 1, and what a flow can gain.

    How bright a ramp is no flow changes, and it says how far the picture is from class 1.
    """
    gain, weight = gains(eps), weights()
    wanted = torch.linspace(0.2, 1.8, COUNT) * gain
    ramp = SLOPE * torch.arange(float(SIDE)).expand(SIDE, SIDE)
    x = ramp + ((wanted[-1] - wanted) / weight.sum()).reshape(-1, 1, 1, 1)
    assert x.max() <= 1
    head = nn.Linear(SIDE * SIDE, 2)
    head.weight.data = torch.stack((0 * weight.flatten(), weight.flatten()))
    head.bias.data = torch.stack((torch.tensor(0.0), -wanted[-1] - (weight * ramp).sum()))
    it = Classifier(nn.Sequential(nn.Flatten(), head))
    goal = Goal(torch.zeros(COUNT, dtype=torch.int64))
    task = Task(it, x, goal, ThreatModel("flow", eps), torch.arange(COUNT))
    with it.frozen():
        return judged(stadv(**settings), task, Engine()), wanted, gain  # type: ignore[arg-type]


@pytest.mark.parametrize("eps", [0.4, 0.9])
def test_who_can_be_fooled_by_a_flow_is_and_nobody_else(eps: float) -> None:
    result, wanted, gain = attacked(eps, weight=0.0)
    assert result.fooled[wanted < 0.95 * gain].all()
    assert not result.fooled[wanted > gain * 1.001].any()
    assert not result.lost.any()
    assert (result.size[result.fooled] <= eps * 1.00001).all()


def test_smoothness_is_bought_with_strength() -> None:
    """With the published weight the flow is smoother and as many or fewer are fooled."""
    rough, _, _ = attacked(0.5, weight=0.0)
    smooth, _, _ = attacked(0.5, weight=0.02)
    none, _, _ = attacked(0.5, weight=10.0)
    assert rough.fooled.sum() >= smooth.fooled.sum() >= none.fooled.sum()
    assert none.fooled.sum() < rough.fooled.sum()


def test_roughness_is_what_neighbours_differ_by() -> None:
    flow = torch.zeros(2, 2, 3, 4)
    flow[1, :, 1, 2] = torch.tensor([3.0, 4.0])
    flow[1, 0] += 7
    assert roughness(flow)[0] == pytest.approx(0, abs=0.01)
    assert roughness(flow)[1] == pytest.approx(4 * 5, abs=0.01)


def test_a_flow_of_one_pixel_is_a_shift_and_none_is_none() -> None:
    x = torch.rand(2, 3, 5, 7)
    flow = torch.zeros(2, 2, 5, 7)
    assert torch.equal(flowed(x, flow), x)
    flow[:, 1] = 1.0
    assert torch.allclose(bent(x, flow)[..., :-1], x[..., 1:], atol=1e-5)
    assert torch.allclose(bent(x, flow)[..., -1], x[..., -1], atol=1e-5)
    flow[:, 1], flow[:, 0] = 0.0, -0.5
    assert torch.allclose(bent(x, flow)[:, :, 1:], (x[:, :, 1:] + x[:, :, :-1]) / 2, atol=1e-5)
