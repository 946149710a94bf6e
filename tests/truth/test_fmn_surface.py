"""FMN walks on the surface of its ball: what makes it find errors where gradients mislead."""

import pytest
import torch
from torch import nn

from robustkit.attacks.attack import pose
from robustkit.attacks.fmn import fmn
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.threat import ThreatModel


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_a_point_that_falls_behind_its_radius_is_moved_out(norm: str) -> None:
    """A gradient that turns round at every look leads nowhere; the radius grows all the same."""

    class Turning(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.looks = nn.Parameter(torch.tensor(1.0)), 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.looks += 1
            side = x[:, 0, 0, self.looks % 2] * self.weight
            return torch.stack((3 + 0 * side, 0.01 * side), 1)

    model = Classifier(Turning())
    x = torch.full((1, 1, 2, 8), 0.5)
    attack = fmn(steps=10, step_size=0.05)
    threat = ThreatModel(norm, 0.0)
    with model.frozen():
        index = torch.tensor([0])
        problem = pose(model, x, Goal(torch.tensor([0])), threat, index=index)
        state = attack.init(problem)
        for _ in range(3):
            state = attack.step(problem, state)
    (radius,) = state.memory
    # The linearised boundary is out of reach, so the radius is as large as the box lets it be.
    walls = float((state.x - x).abs().max())
    assert float(radius) > 1
    assert walls == pytest.approx(0.5, abs=1e-6)
