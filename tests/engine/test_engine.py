"""The engine: results do not depend on batches, order or dropping; work is not done twice."""

import time
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from robustkit.attacks import bim, build, fgsm, pgd
from robustkit.attacks.attack import Attack, Problem, State, begin, observe, pick
from robustkit.audit.device import choose_batch_size, choose_device, halving
from robustkit.audit.engine import Engine, Outcome, Task
from robustkit.audit.referee import eight_bit, rule
from robustkit.errors import ToolError, UserError
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.threat import ThreatModel
from tests.engine.small import can_be_fooled, labelled, linear, pictures

COUNT = 50
BUDGETS = {"linf": 0.05, "l2": 0.25, "l1": 0.7}


def task_of(model: Classifier, norm: str = "linf", eps: float | Tensor | None = None) -> Task:
    x = pictures(COUNT)
    threat = ThreatModel(norm, BUDGETS[norm] if eps is None else eps)
    return Task(model, x, Goal(labelled(model, x)), threat, torch.arange(COUNT))


def run(attack: Attack, task: Task, **engine: object) -> Outcome:
    with task.model.frozen():
        return Engine(**engine).run(attack, task)  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", BUDGETS)
@pytest.mark.parametrize("attack", [fgsm(), bim(steps=12), pgd(steps=12, restarts=2)])
@pytest.mark.parametrize(("batch", "dropping"), [(1, True), (7, True), (64, False)])
def test_results_do_not_depend_on_batches_or_dropping(
    norm: str, attack: Attack, batch: int, dropping: bool
) -> None:
    task = task_of(linear(), norm)
    usual = run(attack, task, batch_size=64)
    other = run(attack, task, batch_size=batch, dropping=dropping)
    assert torch.equal(usual.fooled, other.fooled)
    kept = usual.fooled
    assert torch.allclose(usual.x_adv[kept], other.x_adv[kept], atol=2e-4)
    # Of two survivors' points with the same loss either may be kept, as rounding has it.
    assert torch.allclose(usual.loss, other.loss, atol=1e-4)
    assert 0 < usual.fooled.sum() < COUNT


@pytest.mark.parametrize("norm", BUDGETS)
@pytest.mark.parametrize("attack", [fgsm(), bim(), pgd()])
def test_two_classes_are_fooled_exactly_where_they_can_be(norm: str, attack: Attack) -> None:
    task = task_of(linear(2), norm)
    truth = can_be_fooled(task.model, task.x, task.goal.y, norm, BUDGETS[norm])
    assert torch.equal(run(attack, task).fooled, truth)
    assert 0 < truth.sum() < COUNT


def test_a_budget_for_each_sample_counts_for_it_alone() -> None:
    eps = torch.linspace(0, 0.2, COUNT)
    model = linear(2)
    together = run(pgd(), task_of(model, "linf", eps), batch_size=9)
    for row in (0, 7, 20, COUNT - 1):
        alone = run(pgd(), task_of(model, "linf", float(eps[row])))
        assert together.fooled[row] == alone.fooled[row]
    assert not together.fooled[0]
    assert together.fooled.any()


def test_the_order_of_the_samples_does_not_matter() -> None:
    task = task_of(linear())
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))
    shuffled = replace(task, x=task.x[order], goal=task.goal.take(order), index=task.index[order])
    once, again = run(pgd(), task, batch_size=8), run(pgd(), shuffled, batch_size=8)
    assert torch.equal(once.fooled[order], again.fooled)
    kept = again.fooled
    assert torch.allclose(once.x_adv[order][kept], again.x_adv[kept], atol=1e-5)


def test_what_is_fooled_costs_nothing_more() -> None:
    """Every sample is paid for until it falls, and restarts meet only the survivors."""
    task = task_of(linear())
    outcome = run(pgd(steps=20, restarts=3), task, batch_size=4)
    easy, hard = outcome.queries[outcome.fooled], outcome.queries[~outcome.fooled]
    assert (hard == 3 * 21).all()
    assert easy.float().mean() < 21
    assert outcome.forwards == int(outcome.queries.sum())
    assert outcome.backwards < outcome.forwards


def test_a_success_is_kept_though_the_path_goes_on() -> None:
    """An attack that leaves the success again must still return it (silent success)."""
    task = task_of(linear(2))
    there = run(pgd(), task)

    def step(problem: Problem, state: State) -> State:
        best = problem.x.clone()
        hit = (state.t == 2)[:, None, None, None]
        x = torch.where(hit, there.x_adv, best)
        state = observe(problem, state, problem.model(state.x), state.loss * 0)
        return state._replace(x=x, t=state.t + 1)

    attack = Attack("wanders", lambda problem: begin(problem, problem.x), step, 8, gradient=False)
    outcome = run(attack, task, dropping=False)
    assert torch.equal(outcome.fooled, there.fooled)
    kept = outcome.fooled
    assert torch.equal(outcome.x_adv[kept], there.x_adv[kept])


def test_time_that_is_up_ends_the_run_before_new_samples() -> None:
    outcome = run(pgd(), task_of(linear()), batch_size=4, deadline=time.monotonic() - 1)
    assert not outcome.complete
    assert outcome.forwards == 0


def test_the_referee_denies_what_does_not_hold() -> None:
    task = task_of(linear(2))
    truth = run(pgd(), task)
    lies = truth.x_adv.clone()
    lies[truth.fooled] += 0.2
    claimed = torch.ones(COUNT, dtype=torch.bool)
    with task.model.frozen():
        for x_adv, expected in ((truth.x_adv, truth.fooled), (lies, truth.fooled & False)):
            ruling = rule(
                task.model, x_adv,
                x=task.x, goal=task.goal, threat=task.threat, claimed=claimed, batch_size=16,
            )  # fmt: skip
            assert torch.equal(ruling.fooled, expected)
            assert torch.equal(ruling.lost, ~expected)
    assert (ruling.eight_bit <= ruling.fooled).all()


def test_pictures_with_eight_bits_stay_inside_the_budget() -> None:
    """Rounding goes towards the original, so eps holds after it too."""
    x = (pictures(20) * 255).round() / 255
    threat = ThreatModel("linf", 8 / 255)
    x_adv = threat.project(x + torch.randn(x.shape), x)
    rounded = eight_bit(x_adv, x).float() / 255
    assert threat.violation(rounded, x).max() == 0
    assert torch.allclose(rounded * 255, (rounded * 255).round(), atol=1e-4)
    assert (rounded - x_adv).abs().max() <= 1 / 255 + 1e-6


@pytest.mark.parametrize("fits", [1, 5, 64])
def test_out_of_memory_halves_the_batch(fits: int) -> None:
    tried = []

    def work(batch: int) -> int:
        tried.append(batch)
        if batch > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return batch

    result, used = halving(work, 64)
    assert result == used == tried[-1] <= fits
    assert tried == [64 >> k for k in range(len(tried))]


def test_memory_for_nothing_is_an_error_and_other_errors_pass() -> None:
    def starved(batch: int) -> int:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    def wrong(batch: int) -> int:
        raise RuntimeError("shapes do not match")

    with pytest.raises(ToolError, match="memory"):
        halving(starved, 8)
    with pytest.raises(RuntimeError, match="shapes"):
        halving(wrong, 8)


def test_devices_and_batch_sizes() -> None:
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(UserError):
        choose_device("abacus")
    cpu = torch.device("cpu")
    sizes = [choose_batch_size(cpu, numbers) for numbers in (64, 784, 3072, 150528)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 8


def test_settings_are_read_as_what_they_are() -> None:
    attack = build("pgd:steps=7,random_start=false,loss=margin,step_size=0.5")
    assert attack.settings["steps"] == 7
    assert attack.settings["random_start"] is False
    assert attack.settings["step_size"] == 0.5
    for wrong in ("pgdd", "pgd:stepz=3", "pgd:steps=many", "pgd:random_start=no", "pgd:name=x"):
        with pytest.raises(UserError):
            build(wrong)


def test_pictures_are_picked_bit_for_bit() -> None:
    x, y = torch.randn(64, 3, 5, 7) * 1e3, torch.randn(64, 3, 5, 7) * 1e-7
    rows = torch.arange(64) % 3 == 0
    expected = torch.where(rows[:, None, None, None], x, y)
    assert torch.equal(pick(rows, x, y), expected)
