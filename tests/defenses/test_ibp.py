"""Interval bounds: never narrower than what the network does, and exact where they can be."""

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import robustkit as rk
from robustkit.defenses.ibp import Bounds, certify, reachable
from robustkit.defenses.ibp_rules import Interval
from robustkit.errors import UserError
from robustkit.model import Classifier
from robustkit.preprocess import Preprocess
from robustkit.threat import ThreatModel

HALF = Preprocess.parse("mean=0.4;std=0.25")


class Residual(nn.Module):
    """Functions and methods of torch between the layers, as the reference networks have them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 3, 3, 2, 1), nn.Conv2d(3, 3, 3, padding=1)
        self.norm, self.last = nn.BatchNorm2d(3), nn.Linear(3, 4)
        self.shift = nn.Parameter(torch.tensor(0.1))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.first(x))
        short = functional.pad(functional.max_pool2d(x, 2), (0, 2, 0, 2)) - self.shift
        x = functional.relu(self.norm(self.second(x)) * -0.5 + short)
        x = torch.cat((x, 2 * x), 1).view(x.size(0), 6, -1).mean(2)
        logits: Tensor = self.last(x[:, :3] / 3 + x[:, 3:])
        return logits


def plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 1, padding_mode="reflect"), nn.BatchNorm2d(4), nn.LeakyReLU(0.1),
        nn.AvgPool2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 4),
    )  # fmt: skip


def network(kind: str) -> Classifier:
    torch.manual_seed(3)
    module = plain() if kind == "plain" else Residual()
    norm = next(one for one in module.modules() if isinstance(one, nn.BatchNorm2d))
    norm.running_mean, norm.running_var = (
        torch.randn(norm.num_features),
        torch.rand(norm.num_features),
    )
    norm.weight.data = torch.randn(norm.num_features)
    return Classifier(module.eval().requires_grad_(False), preprocess=HALF)


@pytest.mark.parametrize("kind", ["plain", "mixed"])
@pytest.mark.parametrize("eps", [0.0, 0.01, 0.1])
def test_no_picture_in_the_box_leaves_its_bounds(kind: str, eps: float) -> None:
    model, threat = network(kind), ThreatModel("linf", eps)
    torch.manual_seed(4)
    x, y = torch.rand(5, 1, 8, 8), torch.arange(5) % 4
    bounds, box = Bounds(model), reachable(x, threat)
    logits = bounds.logits(box, unit=2**-24)
    margins = bounds.margins(box, y, unit=2**-24)
    for number in range(300):
        torch.manual_seed(number)
        delta = torch.randn(5, 1, 8, 8).sign() if number % 2 else torch.rand(5, 1, 8, 8) * 2 - 1
        seen = model((x + eps * delta).clamp(0, 1)).double()
        assert bool(((seen >= logits.low) & (seen <= logits.high)).all())
        gap = (seen.gather(1, y[:, None]) - seen).scatter(1, y[:, None], torch.inf)
        assert bool((gap >= margins).all())
    if not eps:
        assert float((logits.high - logits.low).max()) < 1e-3


def test_one_linear_layer_is_bounded_exactly() -> None:
    torch.manual_seed(5)
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)))
    x = torch.full((1, 1, 2, 2), 0.5)
    found = Bounds(model).margins(reachable(x, ThreatModel("linf", 0.1)), torch.tensor([1]))
    corners = torch.tensor(list(itertools.product((0.4, 0.6), repeat=4))).view(-1, 1, 2, 2)
    seen = model(corners).detach()
    gaps = (seen[:, 1:2] - seen).amin(0)
    torch.testing.assert_close(found[0, [0, 2]].float(), gaps[[0, 2]], rtol=1e-4, atol=1e-5)


def test_bounds_grow_with_the_budget_and_rounding() -> None:
    model, x = network("plain"), torch.rand(3, 1, 8, 8)
    margins = [certify(model, x, ThreatModel("linf", eps)).margin for eps in (0.0, 0.01, 0.02)]
    assert bool((margins[0] > margins[1]).all())
    assert bool((margins[1] > margins[2]).all())
    bounds, box, y = Bounds(model), reachable(x, ThreatModel("linf", 0.01)), torch.zeros(3).long()
    assert bool((bounds.margins(box, y) >= bounds.margins(box, y, unit=2**-24)).all())


def test_the_model_is_left_as_it_was() -> None:
    model = network("plain")
    model.module.train()
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    certify(model, torch.rand(2, 1, 8, 8), ThreatModel("linf", 0.1), batch_size=1)
    assert model.module.training
    after = model.module.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


class Repeating(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).repeat_interleave(2, 1)


@pytest.mark.parametrize(
    ("module", "threat", "named"),
    [
        (nn.Sequential(nn.Flatten(), nn.GELU()), "linf:0.1", "GELU"),
        (nn.Sequential(nn.Flatten(), nn.LeakyReLU(-0.1)), "linf:0.1", "LeakyReLU"),
        (Repeating(), "linf:0.1", "repeat_interleave"),
        (Branching(), "linf:0.1", "TraceError"),
        (nn.Flatten(), "l2:0.1", "l2:0.1"),
    ],
)
def test_what_has_no_bounds_is_named(module: nn.Module, threat: str, named: str) -> None:
    with pytest.raises(UserError, match=named):
        certify(Classifier(module), torch.rand(2, 1, 8, 8), ThreatModel.parse(threat))


class Switched(nn.Module):
    """Another function in evaluation mode than in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(16, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.first(x.flatten(1)))
        logits: Tensor = self.last(x if self.training else 5 * x - 1)
        return logits


def test_it_is_the_network_in_evaluation_mode_that_is_bounded() -> None:
    torch.manual_seed(0)
    module, x = Switched(), torch.rand(20, 1, 4, 4)
    found = [
        certify(Classifier(module.train(mode)), x, ThreatModel("linf", 0.01)).margin
        for mode in (False, True)
    ]
    assert torch.equal(*found)


@pytest.mark.parametrize("name", ["", "first"])
@pytest.mark.parametrize("when", ["register_forward_hook", "register_forward_pre_hook"])
def test_a_network_with_hooks_is_refused(name: str, when: str) -> None:
    """What a hook answers in a layer's place has no bounds."""
    module = Switched()
    getattr(module.get_submodule(name), when)(lambda *_: None)
    with pytest.raises(UserError, match="hooks"):
        certify(Classifier(module), torch.rand(2, 1, 4, 4), ThreatModel("linf", 0.01))


def test_every_picture_may_have_a_budget_of_its_own() -> None:
    torch.manual_seed(0)
    model, x = network("mixed"), torch.rand(5, 1, 8, 8)
    eps = torch.tensor([0.0, 0.01, 0.02, 0.01, 0.0])
    alone = [
        certify(model, x[i : i + 1], ThreatModel("linf", float(eps[i]))).margin for i in range(5)
    ]
    together = certify(model, x, ThreatModel("linf", eps), batch_size=2).margin
    assert torch.allclose(together, torch.cat(alone))


def test_an_interval_turned_around_stays_one() -> None:
    x = Interval(torch.tensor([-2.0]), torch.tensor([1.0]))
    assert x.largest.item() == 2
    assert x.widened(torch.tensor([0.5])) == Interval(torch.tensor([-2.5]), torch.tensor([1.5]))


@pytest.mark.slow
def test_no_attack_fools_a_certified_picture(reference: Path) -> None:
    source = reference / "mnist/small-provable.safetensors"
    model = rk.load(source, arch="nets:small_mnist")
    data = rk.open_samples(reference / "mnist/test-10000.npz")
    x, threat = data.pixels(slice(0, 4000)), ThreatModel("linf", 0.03)
    found = certify(model, x, threat, batch_size=256)
    kept = found.proven.nonzero().squeeze(1)
    assert len(kept) > 1000
    for attack in ("pgd:steps=20", "apgd-t:steps=10"):
        result = rk.attack(attack, model, x[kept], found.prediction[kept], threat)
        assert not bool(result.fooled.any())
