"""Every attack of the catalogue keeps the rules, and each claim of its row is true."""

import inspect
import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from robustkit.attacks import build
from robustkit.attacks.attack import Attack, State
from robustkit.audit.engine import Task
from robustkit.errors import UserError
from tests.contract.cases import (
    CASES,
    COUNT,
    ROWS,
    Change,
    info,
    net,
    quick,
    run,
    some,
    task,
    usual,
)
from tests.contract.syncs import counted_syncs

WHITE = [case for case in CASES if info(case[0]).access == "white-box"]
BLACK = [case for case in CASES if info(case[0]).access != "white-box"]
DECIDED = [case for case in CASES if info(case[0]).access == "decisions"]


def prepared(name: str, work: Task) -> Attack:
    """A quick attack, ready to be run: what is done once for all samples may wait."""
    attack = quick(name)
    with work.model.frozen(), torch.no_grad():
        return attack.prepare(work.block(COUNT, 0)) if attack.prepare else attack


def stages(attack: Attack) -> list[tuple[str, int]]:
    """What is called in turn: the start, three steps, the end."""
    return [("init", 1), ("step", min(attack.steps, 3)), ("finish", 1 if attack.finish else 0)]


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_no_step_waits_for_the_device(name: str, norm: str) -> None:
    work = task(norm)
    attack = prepared(name, work)
    problem = work.pose(torch.arange(COUNT), 0, 0)
    state: State | None = None
    waits = {}
    with work.model.frozen(), torch.set_grad_enabled(attack.gradient):
        for stage, times in stages(attack):
            for _ in range(times):
                change = getattr(attack, stage)
                with counted_syncs() as seen:
                    state = change(problem, state) if state else change(problem)
                if seen:
                    waits[stage] = dict(seen)
    assert not waits


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_every_tensor_of_a_state_leads_with_the_batch(name: str, norm: str) -> None:
    """And no look at the model is bigger than the counters say."""
    attack, work = quick(name), task(norm)
    rows = torch.arange(5)
    problem = work.pose(rows, 0, 0)
    with work.model.frozen(), torch.set_grad_enabled(attack.gradient):
        state = attack.step(problem, attack.init(problem))
    assert all(len(part) == len(rows) and not part.requires_grad for part in leaves(state))
    assert (state.t == 1).all()
    assert work.model.forwards % len(rows) == 0


def leaves(tree: object) -> list[torch.Tensor]:
    """Every tensor of a nest of tuples; there is nothing else in it."""
    if isinstance(tree, torch.Tensor):
        return [tree]
    assert isinstance(tree, tuple)
    return [leaf for part in tree for leaf in leaves(part)]


@pytest.mark.parametrize(("name", "norm"), BLACK)
def test_what_needs_no_gradient_asks_for_none(name: str, norm: str) -> None:
    work = task(norm)
    enabled = []
    work.model.module.register_forward_hook(lambda *_: enabled.append(torch.is_grad_enabled()))
    outcome = run(quick(name), work)
    assert not quick(name).gradient
    assert outcome.backwards == 0
    assert enabled
    assert not any(enabled)


@pytest.mark.parametrize(("name", "norm"), DECIDED)
def test_what_needs_decisions_gets_along_with_them(name: str, norm: str) -> None:
    outcome = run(quick(name), task(norm, change=Change(decide=True)), batch_size=COUNT)
    assert torch.equal(outcome.fooled, usual(name, norm).fooled)


@pytest.mark.parametrize("change", [Change(shift=50.0), Change(shift=-50.0), Change(scale=1e4)])
@pytest.mark.parametrize(("name", "norm"), WHITE)
def test_logits_shifted_or_scaled_hide_nothing(name: str, norm: str, change: Change) -> None:
    """The same classifier is as easily fooled, but for a sample or two at the edge.

    A scale is not without effect: it changes the weights that the log odds give to the classes.
    """
    plain = usual(name, norm)
    outcome = run(quick(name), task(norm, change=change), batch_size=COUNT)
    assert (plain.fooled & ~outcome.fooled).sum() <= 2
    assert change.scale > 1 or (plain.fooled != outcome.fooled).sum() <= 2
    if quick(name).minimum_norm:
        kept = outcome.fooled & plain.fooled
        ratio = outcome.size[kept] / plain.size[kept]
        assert 0.5 < ratio.median() < 2


@pytest.mark.parametrize("name", ROWS)
def test_the_model_is_left_as_it_was(name: str) -> None:
    norm = info(name).norms[0]
    work = some(task(norm), torch.arange(3))
    module = work.model.module.train()
    module.get_submodule("features.1").eval()
    next(module.parameters()).requires_grad_(False)
    before = snapshot(module)
    state = torch.get_rng_state()
    run(quick(name), work)
    assert snapshot(module) == before
    assert torch.equal(torch.get_rng_state(), state)
    assert all(weight.grad is None for weight in module.parameters())


def snapshot(module: nn.Module) -> list[object]:
    """Everything of a module that an attack could have changed."""
    modes = [(key, part.training) for key, part in module.named_modules()]
    weights = [(key, p.requires_grad, p.dtype) for key, p in module.named_parameters()]
    values = [(key, value.tolist()) for key, value in module.state_dict().items()]
    return [modes, weights, values]


@pytest.mark.parametrize("name", ROWS)
def test_a_row_says_what_its_attack_is(name: str) -> None:
    row, attack = info(name), build(name)
    assert attack.name == row.name == name
    assert attack.minimum_norm == (row.kind == "minimum-norm")
    assert row.kind in ("fixed-budget", "minimum-norm")
    assert attack.gradient == (row.access == "white-box")
    assert row.access in ("white-box", "scores", "decisions", "none")
    assert row.norms
    assert re.search(r"arXiv (\d{4}\.\d{4,5})|doi|\d{4}", row.paper)
    assert re.fullmatch(r"[a-z_]+:[\w-]+", row.reference), "name what it is compared with"


@pytest.mark.parametrize("name", ROWS)
def test_settings_are_named_defaulted_and_reported(name: str) -> None:
    row, attack = info(name), build(name)
    accepted = inspect.signature(row.build).parameters.values()
    assert all(part.kind is part.KEYWORD_ONLY for part in accepted)
    assert all(part.default is not part.empty for part in accepted)
    assert {part.name for part in accepted} - {"name"} <= set(attack.settings) | {"targets"}
    with pytest.raises(UserError):
        build(f"{name}:n_iter=3")
    with pytest.raises(TypeError):
        row.build(n_iter=3)


def test_the_counter_would_see_a_step_that_waits() -> None:
    """The test of syncs itself can fail."""
    work = task("linf")
    problem = work.pose(torch.arange(COUNT), 0, 0)
    attack = quick("pgd")

    def step(problem, state):  # type: ignore[no-untyped-def]
        state = attack.step(problem, state)
        return state._replace(t=state.t + int(not state.fooled.all()))

    bad = replace(attack, step=step)
    with counted_syncs() as seen:
        bad.step(problem, bad.init(problem))
    assert seen["_local_scalar_dense"] == 1
    assert net().forwards == 0
