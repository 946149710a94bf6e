"""Perturbations that move in the weights' own backward, and what a run keeps of them."""

import torch

from robustkit.defenses.training.assembly import cross_entropy
from robustkit.defenses.training.free import free, universal_at
from robustkit.defenses.training.recipe import Recipe
from robustkit.defenses.training.trainer import Trainer
from robustkit.threat import ThreatModel
from robustkit.zoo import load_model, load_samples
from tests.defenses.tiny import grey, linear, normed, pictures

THREAT = ThreatModel("linf", 0.1)
SIGN = torch.tensor([1.0, -1.0, 1.0, 1.0]).view(1, 1, 2, 2)


def test_free_training_moves_by_the_gradient_that_the_weights_get() -> None:
    model, batch = normed(), pictures()
    model.module.eval()
    free()(model, batch, THREAT).mean().backward()
    x = batch.x.clone().requires_grad_()
    cross_entropy(model(x), batch.y).sum().backward()
    assert x.grad is not None
    expected = (batch.x + 0.1 * x.grad.sign()).clamp(0, 1) - batch.x
    torch.testing.assert_close(batch.carried["free"], expected)
    model.module.zero_grad()
    loss = free()(model, batch, THREAT)
    torch.testing.assert_close(loss, cross_entropy(model(batch.x + expected), batch.y))
    loss.mean().backward()
    found = [weight.grad.clone() for weight in model.module.parameters() if weight.grad is not None]
    again = cross_entropy(model(batch.x + expected), batch.y).mean()
    wanted = torch.autograd.grad(again, list(model.module.parameters()))
    torch.testing.assert_close(found, list(wanted))


def test_one_perturbation_moves_for_all_and_stays_within_the_budget() -> None:
    model, batch = linear(), grey(3)
    for steps in (1, 2, 3, 4, 5, 6):
        universal_at()(model, batch, THREAT).mean().backward()
        delta = batch.carried["universal"]
        assert delta.shape == (1, 1, 2, 2)
        # The one picture that is taken for the other class pulls more than the two that are not.
        torch.testing.assert_close(delta, SIGN * 0.1 * min(1.0, steps / 4))


def test_a_replayed_batch_is_the_same_pictures_and_its_perturbation_is_kept() -> None:
    recipe = Recipe(objective="free", replays=4, batch_size=64, epochs=2, warm_up=0.0)
    data = load_samples("digits", split="train").take(200)
    trainer = Trainer(load_model("digits-standard"), data, THREAT, recipe, seed=0)
    assert trainer.epoch_steps == 8
    seen = []
    for _ in range(5):
        seen.append(trainer._batch().x)
        trainer.advance()
    assert all(torch.equal(seen[0], one) for one in seen[:4])
    assert not torch.equal(seen[0], seen[4])
    kept = trainer.snapshot()
    delta = trainer.carried["free"]
    assert float(delta.abs().amax()) > 0.09
    first = float(trainer.advance())
    trainer.restore(kept)
    assert torch.equal(trainer.carried["free"], delta)
    assert float(trainer.advance()) == first
