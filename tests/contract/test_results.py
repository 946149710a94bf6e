"""Every attack of the catalogue: results belong to a sample, not to its batch, and stay inside."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from robustkit.audit.engine import Outcome, Task
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.preprocess import Preprocess
from robustkit.threat import ThreatModel
from tests.contract.cases import (
    BUDGETED,
    CASES,
    COUNT,
    EPS,
    NEAREST,
    SHAPES,
    info,
    net,
    quick,
    run,
    some,
    task,
    usual,
)

# Sums over a batch of another size may round another way, and an attack amplifies it.
CLOSE = 2e-3
SAMPLES = torch.arange(COUNT)
PARTS = SAMPLES.split(5)
# Attacks that learn from all samples at first: what happens to one depends on the others.
SINGLE = [case for case in CASES if not info(case[0]).joint]
JOINT = [case for case in CASES if info(case[0]).joint]


def assert_same(one: Outcome, other: Outcome, order: Tensor = SAMPLES) -> None:
    """The same samples fooled, by the same pictures or at the same size."""
    assert torch.equal(one.fooled[order], other.fooled)
    kept = other.fooled
    assert torch.allclose(one.size[order][kept], other.size[kept], rtol=0.01, atol=CLOSE)
    if not torch.isfinite(one.size).any():
        assert torch.allclose(one.x_adv[order][kept], other.x_adv[kept], atol=CLOSE)


def free(norm: str, mask: Tensor | None = None) -> ThreatModel:
    """The threat without a budget: the walls and the mask alone."""
    return ThreatModel(norm, 1e6, mask=mask)


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_the_same_seed_gives_the_same_result(name: str, norm: str) -> None:
    one, again = usual(name, norm), run(quick(name), task(norm), batch_size=COUNT)
    for column in ("x_adv", "fooled", "loss", "size", "steps", "queries"):
        assert torch.equal(getattr(one, column), getattr(again, column)), column


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_something_is_fooled_and_every_claim_is_true(name: str, norm: str) -> None:
    outcome, work = usual(name, norm), task(norm)
    assert_true(outcome, work)
    assert outcome.x_adv.dtype == work.x.dtype


def assert_true(outcome: Outcome, work: Task) -> None:
    """Some are fooled, and those that the model gets wrong are those that were claimed."""
    with work.model.frozen(), torch.no_grad():
        wrong = work.model(outcome.x_adv).argmax(1) != work.goal.y
    assert torch.equal(wrong, outcome.fooled)
    assert outcome.fooled.any()


@pytest.mark.parametrize(("name", "norm"), SINGLE)
def test_neither_batch_nor_dropping_matters(name: str, norm: str) -> None:
    other = run(quick(name), task(norm), batch_size=COUNT - 1, dropping=False)
    assert_same(usual(name, norm), other)


@pytest.mark.parametrize(("name", "norm"), SINGLE)
def test_a_sample_alone_fares_as_in_company(name: str, norm: str) -> None:
    rows = torch.tensor([2, COUNT - 3])
    assert_same(usual(name, norm), run(quick(name), some(task(norm), rows), batch_size=1), rows)


@pytest.mark.parametrize(("name", "norm"), SINGLE)
def test_the_order_of_the_samples_does_not_matter(name: str, norm: str) -> None:
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))
    shuffled = some(task(norm), order)
    assert_same(usual(name, norm), run(quick(name), shuffled, batch_size=9), order)


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_no_point_leaves_the_threat_model(name: str, norm: str) -> None:
    """Budgets differ by sample and begin at zero; masks differ by sample too."""
    shape = SHAPES[1]
    eps = torch.linspace(0, 3 * EPS[norm], COUNT)
    eps = eps.round() if norm == "l0" else eps
    mask = torch.rand(COUNT, 1, *shape[1:], generator=torch.Generator().manual_seed(5)) < 0.6
    work = task(norm, shape=shape, threat=ThreatModel(norm, eps, mask=mask))
    outcome = run(quick(name), work, batch_size=7)
    assert outcome.x_adv.isfinite().all()
    allowed = free(norm, mask) if quick(name).minimum_norm else work.threat
    assert allowed.violation(outcome.x_adv, work.x).max() == 0
    if not quick(name).minimum_norm:
        assert torch.equal(outcome.x_adv[0], work.x[0])
        assert not outcome.fooled[0]
    assert_true(outcome, work)


@pytest.mark.parametrize(("name", "norm"), [case for case in BUDGETED if case in SINGLE])
def test_a_sample_keeps_to_its_own_budget(name: str, norm: str) -> None:
    """Nothing happens to those without a budget, whatever their neighbours may do."""
    eps = torch.where(SAMPLES % 2 == 0, 0.0, EPS[norm])
    work = task(norm, threat=ThreatModel(norm, eps))
    outcome = run(quick(name), work, batch_size=COUNT)
    assert torch.equal(outcome.x_adv[::2], work.x[::2])
    assert torch.equal(outcome.fooled[1::2], usual(name, norm).fooled[1::2])


@pytest.mark.parametrize(("name", "norm"), NEAREST)
def test_a_minimum_norm_attack_ignores_the_budget(name: str, norm: str) -> None:
    other = run(quick(name), task(norm, threat=ThreatModel(norm, 0.0)), batch_size=COUNT)
    assert_same(usual(name, norm), other)
    size = ThreatModel(norm, 0.0).size(other.x_adv, task(norm).x)
    assert torch.equal(size[other.fooled], other.size[other.fooled])


@pytest.mark.parametrize(("name", "norm"), [case for case in CASES if info(case[0]).targeted])
def test_a_target_is_reached_and_no_other_class_counts(name: str, norm: str) -> None:
    generous = ThreatModel(norm, {"l0": 8.0}.get(norm, 4 * EPS[norm]))
    work = task(norm, targeted=True, threat=generous)
    if info(name).joint:
        # What is shared by all can lead to one class only.
        work = some(work, work.goal.y.nonzero().squeeze(1))
        work = replace(work, goal=Goal(work.goal.y, torch.zeros_like(work.goal.y)))
    outcome = run(quick(name), work, batch_size=7)
    with torch.no_grad(), work.model.frozen():
        hit = work.model(outcome.x_adv).argmax(1) == work.goal.label
    assert torch.equal(hit, outcome.fooled)
    assert outcome.fooled.sum() >= 2
    if not quick(name).minimum_norm:
        assert generous.violation(outcome.x_adv, work.x).max() == 0


@pytest.mark.parametrize(("name", "norm"), [case for case in CASES if case[1] != "l0"])
def test_a_picture_may_be_brighter_than_one(name: str, norm: str) -> None:
    """The bounds are the threat's, not always [0, 1]."""
    work = task(norm)
    low, high = -1.0, 3.0
    threat = ThreatModel(norm, EPS[norm] * (high - low), (low, high))
    moved = replace(work, x=work.x * (high - low) + low, threat=threat, model=net_in(low, high))
    outcome = run(quick(name), moved, batch_size=COUNT)
    assert outcome.x_adv.min() >= low
    assert outcome.x_adv.max() <= high
    assert (outcome.x_adv > 1).any()


def net_in(low: float, high: float) -> Classifier:
    """The model for pixels in `[low, high]`."""
    unit = Preprocess(mean=(low,), std=(high - low,))
    return Classifier(net().module, preprocess=unit, bounds=(low, high))


@pytest.mark.parametrize(("name", "norm"), JOINT)
def test_what_a_joint_attack_has_learnt_is_the_same_for_all(name: str, norm: str) -> None:
    """Whatever the batches; and pictures that meet no wall are changed alike if all share one."""
    attack, work = quick(name), task(norm)
    calm = replace(work, x=0.4 + 0.2 * work.x)
    assert attack.prepare
    with work.model.frozen():
        ready = attack.prepare(calm.block(COUNT, 0))
    assert ready.prepare is None
    delta = torch.cat([run(ready, some(calm, rows)).x_adv - calm.x[rows] for rows in PARTS])
    together = run(ready, calm, batch_size=COUNT).x_adv - calm.x
    assert torch.allclose(delta, together, atol=CLOSE)
    if name == "universal":
        assert torch.allclose(delta, delta[:1].expand_as(delta), atol=1e-6)
    assert delta.abs().amax() > 0.01
