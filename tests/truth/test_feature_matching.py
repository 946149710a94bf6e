"""Feature matching comes as near to a source's features as the budget allows, and to which."""

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear
from torch import Tensor, nn

import robustkit as rk
from robustkit.attacks import feature_matching
from robustkit.attacks.attack import Problem, State, pose, unrolled
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

PIXELS, FEATURES, CLASSES, COUNT = 24, 7, 3, 12
BLOCK = torch.rand(COUNT, 1, 4, 6, generator=torch.Generator().manual_seed(4))
EPS = 0.2


def matrices() -> tuple[Tensor, Tensor]:
    """Features of pixels, and logits of features: no symmetry anywhere."""
    generator = torch.Generator().manual_seed(7)
    first = torch.randn(FEATURES, PIXELS, generator=generator) * torch.linspace(0.5, 2, PIXELS)
    return first, torch.randn(CLASSES, FEATURES, generator=generator)


def model() -> Classifier:
    """Features linear in the pixels, logits linear in the features."""
    layers = nn.Linear(PIXELS, FEATURES, bias=False), nn.Linear(FEATURES, CLASSES)
    for layer, weight in zip(layers, matrices(), strict=True):
        layer.weight.data = weight
    with torch.no_grad():
        layers[1].bias.data = -(layers[0](BLOCK.flatten(1)) @ layers[1].weight.T).mean(0)
    return Classifier(nn.Sequential(nn.Flatten(), *layers))


def labels() -> Tensor:
    with torch.no_grad():
        return model()(BLOCK).argmax(1)


def at_the_end(match: str, norm: str = "linf", **goal: Tensor | int) -> tuple[Problem, State]:
    """Where the attack goes, its successes on the way left aside."""
    net, restart = model(), int(goal.pop("restart", 0))
    threat, index = ThreatModel(norm, EPS), torch.arange(COUNT)
    wanted = Goal(labels(), **goal)  # type: ignore[arg-type]
    problem = pose(net, BLOCK, wanted, threat, index=index, restart=restart)
    attack = feature_matching(steps=200, match=match)
    with net.frozen(), torch.no_grad():
        state = attack.init(problem)
        for _ in range(attack.steps):
            state = attack.step(problem, state)
    return problem, state


def represented(x: Tensor, match: str) -> Tensor:
    first, second = matrices()
    seen = x.flatten(1) @ first.T
    if match == "features":
        return seen
    logits = (seen - (BLOCK.flatten(1) @ first.T).mean(0)) @ second.T
    return logits - logits.mean(1, keepdim=True)


@pytest.mark.parametrize("match", ["features", "logits"])
def test_no_picture_within_the_budget_looks_more_like_the_source(match: str) -> None:
    """Least squares in a box, solved by other means."""
    problem, state = at_the_end(match)
    seen = represented(BLOCK, match)
    first, second = (part.numpy().astype(np.float64) for part in matrices())
    matrix = first if match == "features" else (second - second.mean(0)) @ first
    y = labels()
    for row in range(COUNT):
        apart = (seen - seen[row]).square().sum(1).masked_fill(y == y[row], torch.inf)
        source = int(apart.argmin())
        torch.testing.assert_close(state.memory[0][row], seen[source], atol=1e-3, rtol=1e-3)
        bounds = (part[row].flatten().double().numpy() for part in (problem.low, problem.high))
        offset = represented(torch.zeros_like(BLOCK[:1]), match)[0]
        wanted = (seen[source] - offset).double().numpy()
        best = lsq_linear(matrix, wanted, tuple(bounds), tol=1e-12)
        reached = represented(state.x[row : row + 1], match)[0] - seen[source]
        least, start = 2 * best.cost, float(apart[source])
        assert float(reached.square().sum()) <= least * 1.02 + 1e-4 * start
        assert least < 0.9 * start


def test_a_restart_takes_the_next_source() -> None:
    seen, y = represented(BLOCK, "features"), labels()
    apart = torch.cdist(seen, seen).masked_fill(y[:, None] == y[None], torch.inf)
    order = apart.argsort(1)
    for restart in (1, 2):
        _, state = at_the_end("features", restart=restart)
        torch.testing.assert_close(state.memory[0], seen[order[:, restart]], atol=1e-4, rtol=1e-4)


def test_a_target_chooses_the_class_of_the_source() -> None:
    seen, y = represented(BLOCK, "features"), labels()
    target = (y + 1) % CLASSES
    _, state = at_the_end("features", target=target)
    apart = torch.cdist(seen, seen).masked_fill(y[None] != target[:, None], torch.inf)
    torch.testing.assert_close(state.memory[0], seen[apart.argmin(1)], atol=1e-4, rtol=1e-4)


def test_what_the_model_gets_wrong_is_no_source() -> None:
    """One picture of the other class is left, and it is mislabelled: the margin has to do."""
    net, y = model(), labels()
    rows = torch.cat(((y == 0).nonzero()[:3], (y == 1).nonzero()[:1])).squeeze(1)
    claimed = torch.tensor([0, 0, 0, 2])
    problem = pose(net, BLOCK[rows], Goal(claimed), ThreatModel("linf", EPS), index=torch.arange(4))
    with net.frozen(), torch.no_grad():
        state = feature_matching().init(problem)
        assert state.memory[1][:3].isinf().all()
        assert state.memory[1][3].isfinite()
        end = unrolled(feature_matching(steps=30), problem)
        direct = rk.attack("pgd:loss=margin", net, BLOCK[rows], claimed, ThreatModel("linf", EPS))
    assert torch.equal(end.fooled, direct.fooled)


def test_a_layer_that_is_not_linear_leaves_the_logits() -> None:
    net = Classifier(nn.Sequential(nn.Conv2d(1, 3, (4, 6)), nn.Flatten()))
    problem = pose(
        net, BLOCK, Goal(torch.arange(COUNT) % 3), ThreatModel("linf", EPS),
        index=torch.arange(COUNT),
    )  # fmt: skip
    with net.frozen(), torch.no_grad():
        assert feature_matching().init(problem).memory[0].shape == (COUNT, 3)
