"""No attack of the catalogue claims what cannot be, on models where that is known exactly."""

from functools import cache

import pytest
import torch
from torch import Tensor, nn

from robustkit.attacks import build, catalogue
from robustkit.audit.engine import Engine, Outcome, Task
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.threat import ThreatModel
from tests.truth.closed_form import Known, linear

COUNT = 12
ALL = [
    (name, norm)
    for name, row in catalogue().items()
    for norm in row.norms
    if row.kind == "fixed-budget" and norm in ("linf", "l2", "l1")
]
# The others take their published number of steps, which is quick on a linear model.
SHORT = {
    "square": "square:queries=200",
    "nes": "nes:queries=520",
    "spsa": "spsa:queries=520,samples=32",
    "apgd-ce": "apgd-ce:steps=40",
    "apgd-dlr": "apgd-dlr:steps=40",
    "apgd-t": "apgd-t:steps=40,targets=3",
}


@cache
def known(classes: int) -> Known:
    return linear(classes, COUNT)


def attacked(name: str, it: Known, threat: ThreatModel, target: Tensor | None = None) -> Outcome:
    task = Task(it.model, it.x, Goal(it.y, target), threat, torch.arange(len(it.x)))
    with it.model.frozen():
        outcome = Engine().run(build(SHORT.get(name, name)), task)
    assert threat.violation(outcome.x_adv, it.x).max() == 0
    return outcome


@pytest.mark.parametrize(("name", "norm"), ALL)
def test_nothing_falls_that_cannot(name: str, norm: str) -> None:
    """One per cent short of the nearest error there is none, with a target or without."""
    it = known(4)
    threat = ThreatModel(norm, 0.99 * it.errors.distance(norm).float())
    assert not attacked(name, it, threat).fooled.any()
    assert not attacked(name, it, threat, (it.y + 1) % 4).fooled.any()


class Flat(nn.Module):
    """Logits that no pixel moves, though a path leads from there to them."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.linspace(1, 0, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.offset + 0 * x.flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize(("name", "norm"), ALL)
def test_a_model_without_gradients_is_no_accident(name: str, norm: str, classes: int) -> None:
    """No success, no NaN, nothing outside; and a picture that is wrong already is one."""
    model = Classifier(Flat(classes))
    y = torch.tensor([0, 0, 0, 1])
    it = Known(model, known(2).x[:4], y, known(2).errors)
    outcome = attacked(name, it, ThreatModel(norm, 0.2))
    assert outcome.fooled.tolist() == [False, False, False, True]
    assert outcome.x_adv.isfinite().all()
