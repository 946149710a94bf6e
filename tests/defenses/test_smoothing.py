"""Certificates: never larger than the truth, and none where there is nothing to prove."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from torch import Tensor, nn

import robustkit as rk
from robustkit.audit.statistics import lower_bound
from robustkit.defenses import smoothing
from robustkit.defenses.smoothing import (
    ABSTAINED,
    Certificate,
    Noisy,
    Smoothing,
    certify,
    lower_bounds,
    votes,
)
from robustkit.draws import Draws
from robustkit.errors import UserError
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

Run = Callable[..., Result]


def linear() -> Classifier:
    """Two classes, an asymmetric weight and a bias: smoothing does not move its boundary."""
    layer = nn.Linear(4, 2)
    layer.weight.data = torch.tensor([[3.0, -1.0, 0.5, 2.0], [0.0, 0.0, 0.0, 0.0]])
    layer.bias.data = torch.tensor([-2.0, 0.0])
    return Classifier(nn.Sequential(nn.Flatten(), layer))


def truth(x: Tensor) -> tuple[Tensor, Tensor]:
    """Class and distance to the boundary."""
    weight = torch.tensor([3.0, -1.0, 0.5, 2.0])
    margin = x.flatten(1) @ weight - 2
    return (margin <= 0).long(), margin.abs() / weight.norm()


def test_no_certificate_is_larger_than_the_truth() -> None:
    torch.manual_seed(0)
    x = torch.rand(400, 1, 2, 2)
    found = certify(linear(), x, torch.arange(400), Smoothing(0.25, draws=500), batch_size=8192)
    label, distance = truth(x)
    proven = found.prediction != ABSTAINED
    assert bool((found.radius <= distance)[proven].all())
    assert torch.equal(found.prediction[proven], label[proven])
    assert float(proven.float().mean()) > 0.7
    assert bool((found.radius[~proven] == 0).all())


def test_more_draws_prove_nearly_the_whole_distance() -> None:
    x = torch.tensor([[0.6, 0.4, 0.5, 0.5]]).view(1, 1, 2, 2)
    _, distance = truth(x)
    found = certify(linear(), x, torch.tensor([3]), Smoothing(0.2, 50_000), batch_size=8192)
    assert 0.9 * float(distance) < float(found.radius) <= float(distance)


def test_a_picture_on_the_boundary_is_abstained_on() -> None:
    x = torch.tensor([[0.5, 0.5, 0.0, 0.5]]).view(1, 1, 2, 2).expand(32, -1, -1, -1)
    assert float(truth(x)[1][0]) == 0
    found = certify(linear(), x, torch.arange(32), Smoothing(0.25, 1000), batch_size=8192)
    assert bool((found.prediction == ABSTAINED).all())


def test_a_certificate_depends_on_no_batch_and_leaves_the_model() -> None:
    torch.manual_seed(1)
    model, x = linear(), torch.rand(6, 1, 2, 2)
    model.module.train()
    index = torch.arange(6)
    whole = certify(model, x, index, Smoothing(0.25, 200))
    small = certify(model, x, index, Smoothing(0.25, 200), batch_size=7)
    part = certify(model, x[2:4], index[2:4], Smoothing(0.25, 200))
    assert torch.equal(whole.share, small.share)
    assert torch.equal(whole.share[2:4], part.share)
    assert model.module.training
    assert not torch.equal(
        whole.share, certify(model, x, index, Smoothing(0.25, 200), seed=1).share
    )


def test_votes_count_each_copy_once_and_none_that_is_broken() -> None:
    x = torch.full((3, 1, 2, 2), 0.5)
    draws = Draws.keyed(0, torch.arange(3))
    counted = votes(linear(), x, draws, 0.5, draws=100, batch_size=64)
    assert counted.sum(1).tolist() == [100, 100, 100]
    broken = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
    next(broken.module.parameters()).data.fill_(float("nan"))
    assert int(votes(broken, x, draws, 0.5, draws=10, batch_size=64).sum()) == 0


def test_an_attacker_of_the_vote_sees_its_mean_probability() -> None:
    model, x = linear(), torch.rand(3, 1, 2, 2)
    seen = Noisy(model, 0.2, copies=5)(x)
    noise = 0.2 * Draws.keyed(0, torch.arange(5)).at(3).normal(x.shape[1:])
    share = torch.stack([model(x + one).softmax(1) for one in noise]).mean(0)
    torch.testing.assert_close(seen.exp(), share)


def test_bounds_are_those_of_clopper_and_pearson() -> None:
    found = lower_bounds(torch.tensor([0, 1, 60, 99, 100]), 100, 0.001).tolist()
    assert found == pytest.approx([lower_bound(k, 100, 0.999) for k in (0, 1, 60, 99, 100)])


@pytest.mark.parametrize("wrong", [Smoothing(0.0), Smoothing(0.1, draws=0), Smoothing(1, alpha=1)])
def test_settings_that_cannot_be_meant_are_refused(wrong: Smoothing) -> None:
    with pytest.raises(UserError):
        wrong.checked()


WORDS = (
    "certify", "zoo:digits-adversarial", "--sigma", "0.1", "--draws", "100", "--samples", "24",
    "--out", "made", "--json",
)  # fmt: skip


def test_the_verb_certifies_and_goes_on_where_it_was_killed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = json.loads(run(*WORDS, "--radius", "0", "--radius", "0.15", "--radius", "1").stdout)
    shares = [row["certified_accuracy"] for row in facts["certified"]]
    assert shares[0] >= shares[1] > 0.3
    assert shares[2] == 0
    assert facts["samples"] == 24
    assert all(row["attacked_accuracy"] >= row["certified_accuracy"] for row in facts["certified"])
    ledger = tmp_path / "made/ledger.jsonl"
    whole = ledger.read_text()
    ledger.write_text("".join(whole.splitlines(keepends=True)[:2]))
    made: list[int] = []

    def counted(*words: Any, **rest: Any) -> Certificate:
        made.append(rest["seed"])
        return certify(*words, **rest)

    monkeypatch.setattr(smoothing, "certify", counted)
    assert "--resume" in run(*WORDS, code=2).stderr
    again = json.loads(
        run(*WORDS, "--radius", "0", "--radius", "0.15", "--radius", "1", "--resume").stdout
    )
    assert again == facts
    assert made.count(0) == 1
    assert ledger.read_text() == whole
    other = [word if word != "0.1" else "0.2" for word in WORDS]
    assert run(*other, "--resume", code=2)


def bent() -> Classifier:
    torch.manual_seed(2)
    first = nn.Linear(16, 24)
    first.weight.data.mul_(3)
    layers = nn.Sequential(nn.Flatten(), first, nn.ReLU(), nn.Linear(24, 3))
    return Classifier(layers.requires_grad_(False))


@pytest.mark.slow
def test_no_attack_turns_a_vote_within_its_radius() -> None:
    model, votes_taken = bent(), Smoothing(0.2, 500)
    x, index = torch.rand(2000, 1, 4, 4), torch.arange(2000)
    found = certify(model, x, index, votes_taken, batch_size=8192)
    kept = (found.prediction != ABSTAINED).nonzero().squeeze(1)
    label, radius = found.prediction[kept], found.radius[kept].float()
    assert len(kept) > 1000
    turned = []
    for factor in (1.0, 3.0):
        target, threat = Classifier(Noisy(model, 0.2)), ThreatModel("l2", factor * radius)
        x_adv = rk.attack("pgd:steps=10", target, x[kept], label, threat).x_adv
        again = certify(model, x_adv, index[kept], votes_taken, seed=1, batch_size=8192)
        turned.append(int(((again.prediction != label) & (again.prediction != ABSTAINED)).sum()))
    assert turned[0] == 0
    assert turned[1] > 100
