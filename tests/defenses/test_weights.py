"""AWP and GradAlign: gradients of the weights against those worked out another way."""

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from robustkit.defenses.training.alignment import alignment, grad_align
from robustkit.defenses.training.assembly import Assembly, cross_entropy, hard
from robustkit.defenses.training.awp import awp
from robustkit.defenses.training.inner import noisy
from robustkit.defenses.training.objectives import pgd_at
from robustkit.model import Classifier
from robustkit.threat import ThreatModel
from tests.defenses.tiny import a_batch, linear, normed, pictures

THREAT = ThreatModel("linf", 0.1)


def gradients(model: Classifier, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss.mean(), list(model.module.parameters())))


def moved_by_hand(model: Classifier, loss: Tensor, gamma: float) -> Classifier:
    other = Classifier(copy.deepcopy(model.module))
    pairs = zip(other.module.parameters(), gradients(model, loss), strict=True)
    with torch.no_grad():
        for weight, gradient in pairs:
            if weight.dim() > 1:
                weight.add_(gamma * weight.norm() * gradient / gradient.norm())
    return other


def test_weights_are_perturbed_uphill_by_a_share_of_their_length() -> None:
    model, batch = normed(), pictures()
    model.module.eval()
    inner = pgd_at(steps=2)
    x_adv = inner.pictures(model, batch, THREAT)
    other = moved_by_hand(model, cross_entropy(model(x_adv), batch.y), 0.1)
    loss = awp(inner, gamma=0.1)(model, batch, THREAT)
    expected = cross_entropy(other(x_adv), batch.y)
    torch.testing.assert_close(loss, expected)
    assert bool(loss.mean() > cross_entropy(model(x_adv), batch.y).mean() + 0.01)
    for found, wanted in zip(gradients(model, loss), gradients(other, expected), strict=True):
        torch.testing.assert_close(found, wanted)


def test_perturbed_weights_wait_for_the_whole_budget_and_put_everything_back() -> None:
    model, batch = normed(), pictures()
    model.module.train()
    weights = [one.clone() for one in model.module.parameters()]
    plain = pgd_at(steps=2)(model, batch, THREAT)
    torch.testing.assert_close(
        awp(pgd_at(steps=2))(model, replace(batch, share=0.5), THREAT), plain
    )
    norm = model.module[1]  # type: ignore[index]
    seen = int(norm.num_batches_tracked)
    assert not torch.allclose(awp(pgd_at(steps=2))(model, batch, THREAT), plain)
    assert int(norm.num_batches_tracked) == seen + 1
    pairs = zip(weights, model.module.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


class Bowl(nn.Module):
    """Log odds a z0^2 / 2 + b z1: the gradient in the pixels is (a z0, b), and known everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(4.0)), nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        z = x.flatten(1)
        value = self.a * z[:, 0].square() / 2 + self.b * z[:, 1]
        return torch.stack((value, torch.zeros_like(value)), 1)


def test_misaligned_gradients_cost_what_they_do_in_closed_form() -> None:
    torch.manual_seed(0)
    batch = a_batch(0.3 + 0.4 * torch.rand(6, 1, 1, 2), torch.arange(6) % 2)
    bowl = Bowl()
    model, a, b = Classifier(bowl), bowl.a, bowl.b
    # Where its noise lies is the objective's own affair: it is the seventh purpose of the draws.
    away = THREAT.sample(batch.x, batch.draws(7)).flatten(1)
    here = torch.stack((a.detach() * batch.x.flatten(1)[:, 0], b.detach().expand(6)), 1)
    there = torch.stack((a * away[:, 0], b.expand(6)), 1)
    cosine = torch.cosine_similarity(here, there)
    assert bool(cosine.min() < 0.999)
    attacked = Assembly(noisy(spread=0.0), hard(0.0))(model, batch, THREAT)
    loss = grad_align(strength=3.0)(model, batch, THREAT)
    torch.testing.assert_close(loss, attacked + 3 * (1 - cosine))
    expected = gradients(model, attacked + 3 * (1 - cosine))
    torch.testing.assert_close(gradients(model, loss), expected)
    with model.frozen():
        torch.testing.assert_close(alignment(model, batch, THREAT), cosine.detach())


def test_a_linear_model_is_aligned_and_pays_nothing() -> None:
    model, batch = linear(torch.rand(2, 16)), pictures()
    batch = replace(batch, y=batch.y % 2)
    attacked = Assembly(noisy(spread=0.0), hard(0.0))(model, batch, THREAT)
    torch.testing.assert_close(grad_align(strength=9.0)(model, batch, THREAT), attacked)


def test_alignment_leaves_no_trace_in_batch_norm_but_the_one_of_the_loss() -> None:
    model, batch = normed(), pictures()
    model.module.train()
    grad_align()(model, batch, THREAT).mean().backward()
    assert int(model.module[1].num_batches_tracked) == 1  # type: ignore[index]
