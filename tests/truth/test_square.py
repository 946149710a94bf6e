"""Square Attack: what it draws, what it may reach, and what it finds."""

import pytest
import torch
from torch import Tensor, nn

from robustkit.attacks import square
from robustkit.attacks.attack import Problem, State, pose
from robustkit.audit.engine import Engine, Task
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.threat import ThreatModel
from tests.truth.closed_form import linear

SHAPE = (2, 6, 9)
COUNT = 8


class Unmoved(nn.Module):
    """Prefers the clean picture to all others: nothing is ever accepted after the start."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack((torch.ones(len(x)), torch.zeros(len(x))), 1)


def grey(norm: str, eps: float = 0.1) -> Problem:
    x = torch.full((COUNT, *SHAPE), 0.5)
    goal = Goal(torch.zeros(COUNT, dtype=torch.int64))
    return pose(Classifier(Unmoved()), x, goal, ThreatModel(norm, eps), index=torch.arange(COUNT))


def proposals(norm: str, queries: int, start: int = 0) -> Tensor:
    """What changes from the best point to each proposal, `[queries,N,C,H,W]`."""
    problem, attack = grey(norm), square(queries=queries)
    state: State = attack.init(problem)
    state = attack.step(problem, state._replace(t=state.t + start))
    changes = []
    for _ in range(queries):
        changes.append(state.x - state.x_adv)
        state = attack.step(problem, state)
    return torch.stack(changes)


@pytest.mark.parametrize(
    ("queries", "side"), [(1, 7), (10, 7), (11, 5), (60, 3), (300, 2), (600, 2)]
)
def test_the_side_follows_the_published_schedule(queries: int, side: int) -> None:
    """sqrt(0.8 * 54 / 2^k), k halvings after 10, 50, 200 and 500 queries; at most the height."""
    changed = proposals("linf", 40, queries - 1)[0] != 0
    rows = changed.any(1).any(2).sum(1)
    columns = changed.any(1).any(1).sum(1)
    assert rows.max() == min(side, SHAPE[1])
    assert columns.max() <= min(side, SHAPE[1])


def test_every_pixel_can_be_reached() -> None:
    """The last row and the last column too."""
    touched = (proposals("linf", 300, 6000) != 0).any(0)
    assert touched.any(0).any(0).all()


def test_every_sample_has_squares_of_its_own() -> None:
    changes = proposals("linf", 5)
    assert len(changes[0].unique(dim=0)) > COUNT // 2
    assert not torch.equal(changes[0], changes[1])


def test_a_linf_proposal_always_changes_something() -> None:
    changes = proposals("linf", 100, 6000)
    assert (changes != 0).flatten(2).any(2).all()
    assert (changes.abs().flatten(2).amax(2) - 0.2).abs().max() < 1e-6


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_the_whole_budget_is_spent(norm: str) -> None:
    """Away from the walls every proposal has the size eps, whatever window was emptied."""
    problem, attack = grey(norm, 0.4), square()
    state = attack.init(problem)
    for _ in range(30):
        size = problem.threat.size(state.x, problem.x)
        assert torch.allclose(size, torch.tensor(0.4), rtol=1e-4)
        state = attack.step(problem, state)
        state = state._replace(x_adv=state.x)


def test_in_l1_the_budget_goes_to_few_pixels() -> None:
    """Patches hold more than eps, and its projection leaves their middles."""
    x = torch.full((COUNT, 3, 32, 32), 0.5)
    goal = Goal(torch.zeros(COUNT, dtype=torch.int64))
    threat = ThreatModel("l1", 8.0)
    problem = pose(Classifier(Unmoved()), x, goal, threat, index=torch.arange(COUNT))
    attack = square()
    state = attack.init(problem)
    for _ in range(20):
        assert ((state.x != x).float().mean((1, 2, 3)) < 0.25).all()
        assert torch.allclose(threat.size(state.x, x), torch.tensor(8.0), rtol=1e-4)
        state = attack.step(problem, state)
        state = state._replace(x_adv=state.x)


@pytest.mark.parametrize(("norm", "factor"), [("linf", 1.3), ("l2", 2.0), ("l1", 3.0)])
def test_what_can_be_fooled_is_found(norm: str, factor: float) -> None:
    """Windows of nine pixels need more of l2 and l1 than the closest point does."""
    it = linear(4)
    threat = ThreatModel(norm, factor * it.errors.distance(norm).float())
    task = Task(it.model, it.x, Goal(it.y), threat, torch.arange(len(it.x)))
    with it.model.frozen():
        outcome = Engine().run(square(queries=500), task)
    assert outcome.fooled.float().mean() >= 0.9
    assert outcome.backwards == 0
    assert outcome.forwards == int(outcome.queries.sum())
    assert outcome.queries.max() <= 500
    assert outcome.queries[outcome.fooled].float().mean() < 300
