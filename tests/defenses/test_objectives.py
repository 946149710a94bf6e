"""Training objectives against losses worked out by hand and models in closed form."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from robustkit.attacks.attack import unrolled
from robustkit.attacks.pgd import pgd
from robustkit.defenses import catalogue
from robustkit.defenses.training.inner import (
    divergent,
    gaussian_noise,
    noisy,
    posed,
    steep,
    still,
)
from robustkit.defenses.training.objectives import (
    OBJECTIVES,
    distilled,
    objective,
    patch_at,
    pgd_at,
    trades,
)
from robustkit.defenses.training.stream import Stream
from robustkit.errors import UserError
from robustkit.losses import kl
from robustkit.threat import ThreatModel
from tests.defenses.tiny import a_batch, grey, linear, normed, pictures

THREAT = ThreatModel("linf", 0.1)
WHOLE = [name for name in OBJECTIVES if not name.startswith("denoise-")]
"""What trains a whole model; `test_denoise` looks at the others."""


def test_pgd_finds_the_worst_point_of_an_asymmetric_linear_model() -> None:
    batch = grey()
    x_adv = steep(steps=4, length=0.6)(linear(), batch, THREAT)
    sign = torch.tensor([1.0, -1.0, 1.0, 1.0]).view(1, 2, 2)
    expected = batch.x + 0.1 * torch.stack((-sign, sign))
    torch.testing.assert_close(x_adv, expected)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_pgd_in_training_goes_where_the_attack_of_that_name_goes(norm: str) -> None:
    model, batch, threat = normed(), pictures(), ThreatModel(norm, 0.4)
    with model.frozen():
        x_adv = steep(steps=3, length=0.5)(model, batch, threat)
        attack = replace(pgd(steps=3, step_size=0.2), finish=None)
        last = unrolled(attack, posed(model, batch, batch.x, threat)).x
    torch.testing.assert_close(x_adv, last)


def test_noisy_fgsm_is_the_noise_and_one_whole_step() -> None:
    batch = a_batch(torch.full((64, 1, 2, 2), 0.5), torch.zeros(64, dtype=torch.int64))
    x_adv = noisy(spread=2.0)(linear(), batch, THREAT)
    noise = x_adv - batch.x + 0.1 * torch.tensor([1.0, -1.0, 1.0, 1.0]).view(1, 1, 2, 2)
    assert noise.abs().max() <= 0.2 + 1e-6
    assert noise.abs().max() > 0.19
    assert noise.mean().abs() < 0.03
    assert (x_adv - batch.x).abs().max() > 0.25


def test_gaussian_noise_has_the_deviation_of_the_budget() -> None:
    batch = a_batch(torch.full((64, 1, 8, 8), 0.5), torch.zeros(64, dtype=torch.int64))
    noise = gaussian_noise(normed(), batch, ThreatModel("l2", 0.5)) - batch.x
    assert float(noise.std()) == pytest.approx(0.5, rel=0.05)
    assert noise.mean().abs() < 0.03


def test_the_divergence_attack_leaves_what_the_model_believes() -> None:
    batch = a_batch(torch.full((1, 1, 2, 2), 0.5), torch.tensor([0]))
    x_adv = divergent(steps=10)(linear(), batch, THREAT)
    sign = torch.tensor([1.0, -1.0, 1.0, 1.0]).view(1, 1, 2, 2)
    moved = ((x_adv - batch.x) / 0.1 * sign).flatten()
    torch.testing.assert_close(moved.abs(), torch.ones(4))
    assert float(moved.sum().abs()) == pytest.approx(4)


@pytest.mark.parametrize("batch_statistics", [False, True])
def test_an_attack_leaves_the_model_as_it_was(batch_statistics: bool) -> None:
    model, batch = normed(), pictures()
    model.module.train()
    first, *others = model.module.parameters()
    first.grad = torch.ones_like(first)
    before = {key: value.clone() for key, value in model.module.state_dict().items()}
    with still(model, batch_statistics=batch_statistics):
        steep(steps=2, length=0.5)(model, batch, THREAT)
    after = model.module.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert torch.equal(first.grad, torch.ones_like(first))
    assert all(one.grad is None for one in others)
    assert all(module.training for module in model.module.modules())
    assert all(weight.requires_grad for weight in model.module.parameters())


def test_batch_statistics_are_those_of_the_batch() -> None:
    model, batch = normed(), pictures()
    with still(model, batch_statistics=True), torch.no_grad():
        seen = model(batch.x)
    model.module.train()
    torch.testing.assert_close(seen, model(batch.x))
    model.module.eval()
    assert not torch.allclose(seen, model(batch.x))


@pytest.mark.parametrize("name", WHOLE)
def test_every_objective_is_a_loss_a_sample_with_a_gradient(name: str) -> None:
    model, batch = normed(), pictures()
    model.module.train()
    threat = ThreatModel("patch", 0.1) if name in ("patch-at", "masked") else THREAT
    loss = objective(name, smoothing=0.1, teacher=normed())(model, batch, threat)
    assert loss.shape == (6,)
    assert bool(loss.isfinite().all())
    loss.mean().backward()
    assert all(weight.grad is not None for weight in model.module.parameters())


@pytest.mark.parametrize("name", WHOLE)
def test_without_a_budget_an_objective_is_its_clean_loss(name: str) -> None:
    model, batch = normed(), pictures()
    model.module.eval()
    waiting = replace(batch, share=0.0)
    loss = objective(name, teacher=model)(model, waiting, ThreatModel("linf", 0.0))
    logits = model(batch.x)
    expected = functional.cross_entropy(logits, batch.y, reduction="none")
    if name == "mart":
        rival = logits.softmax(1).scatter(1, batch.y[:, None], 0).amax(1)
        expected = expected - (1.0001 - rival).log()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


def test_trades_pays_for_divergence_by_beta() -> None:
    model, batch = normed(), pictures()
    model.module.eval()
    losses = [trades(beta=beta)(model, batch, THREAT) for beta in (0.0, 1.0, 6.0)]
    torch.testing.assert_close(losses[2] - losses[0], 6 * (losses[1] - losses[0]))
    assert bool((losses[1] > losses[0]).all())


def test_a_pupil_pays_for_forgetting_its_teacher() -> None:
    model, batch, teacher = normed(), pictures(), linear(torch.rand(3, 16))
    model.module.eval()
    gained = distilled(teacher=teacher, weight=2.0)(model, batch, THREAT)
    gained = gained - pgd_at()(model, batch, THREAT)
    belief = teacher(batch.x).softmax(1)
    torch.testing.assert_close(gained, 2 * kl(belief, model(batch.x)))
    with pytest.raises(UserError, match="teacher"):
        objective("distill")


def test_a_patch_is_learned_from_where_it_may_be() -> None:
    model, batch = normed(), pictures()
    x_adv = patch_at().pictures(model, batch, ThreatModel.parse("patch:2x2"))
    changed = (x_adv != batch.x)[:, 0]
    assert bool((changed.sum((1, 2)) == 4).all())
    assert bool((changed.any(1).sum(1) == 2).all())
    assert len({tuple(one.flatten().tolist()) for one in changed}) > 1


def test_a_patch_is_put_where_it_does_most_harm() -> None:
    # Of the weights 3, -1, 0.5 and 2 the first one moves the margin most.
    x_adv = patch_at().pictures(linear(), grey(), ThreatModel.parse("patch:1x1"))
    moved = (x_adv - grey().x).flatten(1)
    torch.testing.assert_close(moved, torch.tensor([[-0.5, 0, 0, 0], [0.5, 0, 0, 0]]))


def test_a_step_that_is_taken_again_draws_the_same() -> None:
    model, batch = normed(), pictures()
    craft = steep(steps=1, length=1.25)
    with still(model, batch_statistics=False):
        first = craft(model, batch, THREAT)
        torch.rand(3)  # the global generator has no say
        assert torch.equal(craft(model, batch, THREAT), first)
        assert not torch.equal(craft(model, replace(batch, step=4), THREAT), first)
        assert not torch.equal(craft(model, replace(batch, seed=1), THREAT), first)


def test_a_stream_draws_what_it_says() -> None:
    stream = Stream(torch.arange(300), 0, 5)
    uniform = stream.uniform((101,))
    assert uniform.shape == (300, 101)
    assert 0 <= float(uniform.min()) < 1e-3
    assert 0.999 < float(uniform.max()) < 1
    assert float(uniform.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(uniform.var()) == pytest.approx(1 / 12, rel=0.02)
    neighbours = torch.corrcoef(uniform.flatten()[:30_000].reshape(-1, 4).T)
    assert float((neighbours - torch.eye(4)).abs().max()) < 0.05
    normal = stream.normal((101,))
    assert float(normal.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(normal.std()) == pytest.approx(1.0, rel=0.02)
    assert set(stream.integers(3, (5,)).unique().tolist()) == {0, 1, 2}
    assert set(stream.signs((5,)).unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(stream.at(1).bits((2,)), Stream(torch.zeros(300), 0, 5, 1).bits((2,)))
    assert not torch.equal(stream.at(1).bits((2,)), stream.at(2).bits((2,)))


def test_the_catalogue_builds_what_it_names() -> None:
    rows = catalogue()
    assert {row.name for row in rows.values() if row.kind == "training"} == set(OBJECTIVES)
    with pytest.raises(UserError, match="pgd-at"):
        objective("magic")
