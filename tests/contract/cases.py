"""What the contract is tested on: every attack, made quick, on small pictures that are no square.

The model is asymmetric and computes in float64, so that a batch's size does not change its
answers by rounding. Every picture has pixels at 0 and 1, where an attack meets a wall.
"""

import inspect
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor, nn

from robustkit.attacks import build, catalogue
from robustkit.attacks.attack import Attack, AttackInfo
from robustkit.audit.engine import Engine, Outcome, Task
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

COUNT = 16
SHAPES = ((1, 6, 6), (3, 8, 5))
CLASSES = 4
# Budgets within which some of the samples can be fooled and some cannot.
EPS = {
    "linf": 0.05, "l2": 0.35, "l1": 1.0, "l0": 1.0, "patch": 0.12, "spatial": 1.0, "flow": 0.5,
    "corruption": 5.0,
}  # fmt: skip

# An attack that is too slow or too weak with a few steps is named here; the others need no row.
FEW = {"steps": 8, "queries": 40, "targets": 3}
QUICK: dict[str, str] = {
    "carlini-wagner": "steps=60,rounds=3,step_size=0.1",
    "lbfgs": "steps=60,rounds=3,weight=1.0",
    "sigma-zero": "steps=60",
    "pdpgd": "steps=60",
    "ead": "steps=240,rounds=8,weight=0.01",
    "nes": "queries=300,samples=20",
    "spsa": "queries=300,samples=20",
    "hop-skip-jump": "queries=150,samples=20",
    "rays": "queries=150",
    "boundary": "queries=150",
    "one-pixel": "queries=150,population=20",
    "rotation-translation": "rotations=5,shifts=3",
}

ROWS = catalogue()
CASES = [(name, norm) for name, row in ROWS.items() for norm in row.norms if norm in EPS]
NEAREST = [case for case in CASES if ROWS[case[0]].kind == "minimum-norm"]
BUDGETED = [case for case in CASES if case not in NEAREST]


@dataclass(frozen=True)
class Change:
    """How the logits are changed: shifted, scaled, or reduced to the decision."""

    shift: float = 0.0
    scale: float = 1.0
    decide: bool = False

    def __call__(self, logits: Tensor) -> Tensor:
        if self.decide:
            return nn.functional.one_hot(logits.argmax(1), CLASSES).to(logits)
        return logits * self.scale + self.shift


class Net(nn.Module):
    """A convolution, a normalisation that knows training from testing, and a linear head."""

    def __init__(self, shape: tuple[int, int, int], change: Change) -> None:
        super().__init__()
        channels, height, width = shape
        self.features = nn.Sequential(
            nn.Conv2d(channels, 5, 3, padding=1), nn.BatchNorm2d(5), nn.Dropout(0.2), nn.ELU()
        )
        self.head = nn.Linear(5 * height * width, CLASSES)
        self.change = change
        generator = torch.Generator().manual_seed(channels)
        for weight in self.parameters():
            drawn = torch.rand(weight.shape, generator=generator) - 0.45
            weight.data = 2 * drawn / (weight[0].numel() ** 0.5 if weight.dim() > 1 else 1)
        self.double().eval()
        with torch.no_grad():
            grey = self.features(torch.full((1, *shape), 0.5).double()).flatten(1)
            self.head.bias.sub_(self.head(grey)[0])

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self.head(self.features(x).flatten(1)))


def info(name: str) -> AttackInfo:
    """The catalogue row of an attack."""
    return ROWS[name]


@cache
def quick(name: str) -> Attack:
    """An attack with so few steps that it ends at once."""
    accepted = inspect.signature(info(name).build).parameters
    few = ",".join(f"{key}={value}" for key, value in FEW.items() if key in accepted)
    return build(f"{name}:{QUICK.get(name, few)}")


def net(shape: tuple[int, int, int] = SHAPES[0], change: Change | None = None) -> Classifier:
    """The model for pictures of that shape."""
    return Classifier(Net(shape, change or Change()))


@cache
def _pictures(shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Pictures, some pixels of which are at the walls, with the labels that the model gives."""
    generator = torch.Generator().manual_seed(3)
    x = (torch.rand(400, *shape, generator=generator) * 1.5 - 0.25).clamp(0, 1)
    model = net(shape)
    with model.frozen(), torch.no_grad():
        y = model(x).argmax(1)
    chosen = torch.cat([(y == k).nonzero().squeeze(1)[: COUNT // CLASSES] for k in range(CLASSES)])
    assert len(chosen) == COUNT, "every class is to have its pictures"
    return x[chosen], y[chosen]


def task(
    norm: str,
    *,
    shape: tuple[int, int, int] = SHAPES[0],
    threat: ThreatModel | None = None,
    targeted: bool = False,
    change: Change | None = None,
) -> Task:
    """All pictures of one shape under one threat; a target is the class after the label."""
    x, y = _pictures(shape)
    goal = Goal(y, (y + 1) % CLASSES) if targeted else Goal(y)
    threat = threat or ThreatModel(norm, EPS[norm])
    return Task(net(shape, change), x, goal, threat, torch.arange(COUNT))


def some(work: Task, rows: Tensor) -> Task:
    """A task of some of the samples, in that order."""
    return replace(work, x=work.x[rows], goal=work.goal.take(rows), index=work.index[rows])


def run(attack: Attack, work: Task, **settings: object) -> Outcome:
    """One run of the engine."""
    with work.model.frozen():
        return Engine(**settings).run(attack, work)  # type: ignore[arg-type]


@cache
def usual(name: str, norm: str, shape: tuple[int, int, int] = SHAPES[0]) -> Outcome:
    """The run that others are compared with: all samples in one batch."""
    return run(quick(name), task(norm, shape=shape), batch_size=COUNT)
