"""A network that tells clean pictures from attacked ones (Metzen et al. 2017, arXiv 1702.04267).

It sees the pixels. It is the one detector here that is fitted on attacked pictures, and therefore
knows the attack it was fitted on and no other.
"""

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustkit.attacks.attack import pose, unrolled
from robustkit.attacks.pgd import pgd
from robustkit.defenses.detectors.detector import Detector, Fitting
from robustkit.defenses.detectors.features import Seen
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

EPOCHS = 6
BATCH = 64
RATE = 2e-3


class BinaryDetector(Detector):
    """The logit of having been attacked; `settings` hold the number of channels."""

    name = "binary"

    def __init__(
        self,
        tensors: Mapping[str, Tensor] | None = None,
        *,
        layers: tuple[str, ...] = (),
        settings: Mapping[str, float] | None = None,
    ) -> None:
        """An untrained network for pictures with `settings["channels"]` channels."""
        super().__init__(tensors, layers=layers, settings=settings)
        self.net = _network(int(self.settings["channels"]))

    @classmethod
    def fit(cls, data: Fitting, *, eps: float = 0.1, epochs: int = EPOCHS, seed: int = 0) -> Self:
        """Train on clean pictures and on those of PGD in linf within `eps`, half and half."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = cls(settings={"channels": data.x.shape[1]}).to(data.model.device)
        optimiser = torch.optim.Adam(made.net.parameters(), RATE)
        order = torch.Generator().manual_seed(seed)
        made.train()
        for epoch in range(epochs):
            for rows in torch.randperm(len(data.x), generator=order).split(BATCH):
                clean, attacked = _both(data, rows, eps, seed=seed + epoch)
                scores = made.net(torch.cat((clean, attacked))).squeeze(1)
                truth = torch.arange(len(scores), device=scores.device) >= len(clean)
                loss = functional.binary_cross_entropy_with_logits(scores, truth.float())
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        return made.eval().requires_grad_(False)

    def judge(self, model: Classifier, seen: Seen) -> Tensor:
        """The logit of having been attacked, `[B]`."""
        score: Tensor = self.net(seen.x).squeeze(1)
        return score


def _network(channels: int) -> nn.Sequential:
    """Three convolutions and a mean over space; no statistics of a batch."""
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 1),
    )  # fmt: skip


def _both(data: Fitting, rows: Tensor, eps: float, *, seed: int) -> tuple[Tensor, Tensor]:
    """Clean pictures, and the same ones attacked without a thought of any detector."""
    device = data.model.device
    x, goal = data.x[rows].to(device), Goal(data.y[rows].to(device))
    threat = ThreatModel("linf", eps, data.model.bounds)
    problem = pose(data.model, x, goal, threat, index=rows.to(device), seed=seed)
    with torch.no_grad():
        return x, unrolled(pgd(steps=10), problem).x
