"""Fixed-budget white-box attacks fool exactly the samples whose closest error lies within eps."""

import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor

from robustkit.attacks import apgd, build, mi_fgsm
from robustkit.attacks.attack import Attack, Problem, State, pose, unrolled
from robustkit.attacks.cascades import suite
from robustkit.attacks.parts.climb import climb
from robustkit.attacks.parts.gradient import Look, look
from robustkit.attacks.parts.momentum import heavy_ball
from robustkit.audit.engine import Engine, Outcome, Task
from robustkit.goal import Goal
from robustkit.losses import LOSSES
from robustkit.threat import ThreatModel
from tests.truth.closed_form import PIXELS, Known, closest_in_linf, linear, pieces

NORMS = ("linf", "l2", "l1")
COUNT = 24
# Every other sample gets a little more than the least budget, the others a little less.
ENOUGH = torch.arange(COUNT) % 2 == 0


def attacked(attack: str | Attack, it: Known, threat: ThreatModel, goal: Goal) -> Outcome:
    task = Task(it.model, it.x, goal, threat, torch.arange(len(it.x)))
    with it.model.frozen():
        return Engine().run(build(attack) if isinstance(attack, str) else attack, task)


def around(distance: Tensor, norm: str, more: float = 0.02) -> ThreatModel:
    """Budgets somewhat above and just below each sample's distance."""
    return ThreatModel(norm, (distance * torch.where(ENOUGH, 1 + more, 0.98)).float())


def assert_true(outcome: Outcome, it: Known, threat: ThreatModel, goal: Goal) -> None:
    """What is claimed is a success that the threat model allows, and nothing leaves it."""
    with torch.no_grad():
        assert goal.reached(it.model(outcome.x_adv))[outcome.fooled].all()
    assert threat.violation(outcome.x_adv, it.x).max() == 0


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    "attack",
    ["fgsm", "bim", "pgd", "apgd-ce:steps=50", "apgd-dlr:steps=50", "apgd-t:steps=50,targets=2"],
)
def test_two_classes_are_fooled_exactly_where_they_can_be(
    attack: str, norm: str, targeted: bool
) -> None:
    it = linear(2, COUNT)
    threat = around(it.errors.distance(norm), norm)
    goal = Goal(it.y, 1 - it.y if targeted else None)
    outcome = attacked(attack, it, threat, goal)
    assert_true(outcome, it, threat, goal)
    assert torch.equal(outcome.fooled, ENOUGH)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [3, 4, 10])
def test_apgd_t_finds_the_nearest_of_several_classes(classes: int, norm: str) -> None:
    """With three classes the targeted DLR does not exist and the margin takes its place."""
    it = linear(classes, COUNT, shift=-50.0)
    threat, goal = around(it.errors.distance(norm), norm), Goal(it.y)
    outcome = attacked("apgd-t:steps=50", it, threat, goal)
    assert_true(outcome, it, threat, goal)
    assert torch.equal(outcome.fooled, ENOUGH)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("attack", ["fgsm", "pgd", "mi-fgsm", "apgd-ce", "apgd-dlr", "vmi-fgsm"])
def test_an_untargeted_loss_claims_nothing_false(attack: str, norm: str) -> None:
    """It may climb to a class that is not the nearest, but what it claims holds."""
    it = linear(10, COUNT)
    threat, goal = around(it.errors.distance(norm), norm, more=0.2), Goal(it.y)
    outcome = attacked(attack, it, threat, goal)
    assert_true(outcome, it, threat, goal)
    assert not outcome.fooled[~ENOUGH].any()
    assert outcome.fooled[ENOUGH].any()


@pytest.mark.parametrize("norm", NORMS)
def test_pieces_are_found_as_well(norm: str) -> None:
    it = pieces(4, COUNT)
    threat, goal = around(it.errors.distance(norm), norm), Goal(it.y)
    outcome = attacked("apgd-t:steps=50", it, threat, goal)
    assert_true(outcome, it, threat, goal)
    assert not outcome.fooled[~ENOUGH].any()
    assert outcome.fooled[ENOUGH].float().mean() >= 0.9


def least_budget(it: Known, target: Tensor, norm: str) -> Tensor:
    """The least linf or l1 budget with which a linear model says `target`: a linear programme."""
    least = []
    weight, bias = it.model.module.weight[:, 0].double(), it.model.module.bias[:, 0].double()
    for x, goal in zip(it.x.flatten(1).double(), target.tolist(), strict=True):
        others = [k for k in range(len(weight)) if k != goal]
        normal = (weight[others] - weight[goal]).detach().numpy()
        slack = -(normal @ x.numpy() + (bias[others] - bias[goal]).detach().numpy())
        walls = [(-float(p), 1 - float(p)) for p in x]
        if norm == "linf":
            step = torch.cat((torch.eye(PIXELS), -torch.eye(PIXELS))).numpy()
            rows = torch.hstack((torch.tensor(step), -torch.ones(2 * PIXELS, 1))).numpy()
            above = torch.hstack((torch.tensor(normal), torch.zeros(len(others), 1))).numpy()
            found = linprog(
                [0.0] * PIXELS + [1.0], [*above, *rows], [*slack, *[0.0] * (2 * PIXELS)],
                bounds=[*walls, (0, None)],
            )  # fmt: skip
        else:
            both = torch.hstack((torch.tensor(normal), -torch.tensor(normal))).numpy()
            rooms = [*[(0, high) for _, high in walls], *[(0, -low) for low, _ in walls]]
            found = linprog([1.0] * (2 * PIXELS), both, slack, bounds=rooms)
        least.append(found.fun)
    return torch.tensor(least)


@pytest.mark.parametrize("norm", ["linf", "l1"])
@pytest.mark.parametrize("classes", [3, 4, 10])
def test_a_target_is_reached_where_it_can_be(classes: int, norm: str) -> None:
    """The target has to beat every other class at once, which no single half-space tells."""
    it = linear(classes, COUNT)
    target = (it.y + 1 + torch.arange(COUNT) % (classes - 1)) % classes
    threat = around(least_budget(it, target, norm), norm, more=0.2)
    goal = Goal(it.y, target)
    outcome = attacked("apgd-ce", it, threat, goal)
    assert_true(outcome, it, threat, goal)
    assert torch.equal(outcome.fooled, ENOUGH)


def test_the_wide_form_of_l1_counts_no_success_outside_the_budget() -> None:
    for classes, attack in ((2, "apgd-ce:wide=true"), (4, "apgd-t:wide=true,targets=3")):
        it = linear(classes, COUNT)
        threat, goal = around(it.errors.distance("l1"), "l1"), Goal(it.y)
        outcome = attacked(attack, it, threat, goal)
        assert_true(outcome, it, threat, goal)
        assert torch.equal(outcome.fooled, ENOUGH)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("classes", "attack"), [(2, "fab"), (4, "fab-t")])
def test_fab_answers_a_budget(classes: int, attack: str, norm: str) -> None:
    it = linear(classes, COUNT)
    threat, goal = around(it.errors.distance(norm), norm), Goal(it.y)
    outcome = attacked(f"{attack}:steps=30,minimum=false", it, threat, goal)
    assert_true(outcome, it, threat, goal)
    assert torch.equal(outcome.fooled, ENOUGH)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_the_scale_of_the_logits_changes_nothing(scale: float) -> None:
    """Cross-entropy vanishes where softmax saturates; the log odds do not."""
    it = linear(2, COUNT)
    it.model.module.weight.data *= scale
    it.model.module.bias.data *= scale
    for norm in NORMS:
        threat = around(it.errors.distance(norm), norm)
        for attack in ("fgsm", "pgd", "mi-fgsm", "apgd-ce:steps=50"):
            assert torch.equal(attacked(attack, it, threat, Goal(it.y)).fooled, ENOUGH)


def test_a_zero_gradient_does_not_freeze_the_momentum() -> None:
    """Divided by its mean size a zero gradient is NaN, and so is every sum that it is part of."""
    it = linear(2, COUNT)
    goal = Goal(it.y)

    def asleep_at_first(problem: Problem, state: State) -> Look:
        seen = look(problem, state.x, LOSSES["margin"])
        asleep = (state.t == 0)[:, None, None, None]
        return seen._replace(gradient=seen.gradient.masked_fill(asleep, 0.0))

    settings = {"steps": 20, "step_size": None, "loss": "margin"}
    attack = climb("late", asleep_at_first, direction=heavy_ball(1.0), settings=settings)
    threat = around(it.errors.distance("linf"), "linf")
    assert torch.equal(attacked(attack, it, threat, goal).fooled, ENOUGH)


def test_one_step_is_judged_at_the_point_after_it() -> None:
    it = linear(2, COUNT)
    threat = around(it.errors.distance("linf"), "linf")
    for attack in (build("pgd:steps=1,random_start=false"), mi_fgsm(steps=1)):
        assert torch.equal(attacked(attack, it, threat, Goal(it.y)).fooled, ENOUGH)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_checkpoints_are_the_published_ones(norm: str) -> None:
    """Where the loss stands still the step is halved at every checkpoint but no sooner."""
    it = linear(3, 4)
    it.model.module.weight.data.zero_()
    threat, index = ThreatModel(norm, 0.1), torch.arange(4)
    attack = apgd()
    problem = pose(it.model, it.x, Goal(it.y), threat, index=index)
    state, halvings, length = attack.init(problem), [], torch.tensor(0.2)
    for t in range(attack.steps):
        state = attack.step(problem, state)
        if (state.memory.length < length).all():  # type: ignore[attr-defined]
            halvings.append(t)
            length = length / 2
        assert torch.allclose(state.memory.length, length)  # type: ignore[attr-defined]
    assert halvings == [22, 41, 57, 70, 80, 87, 93, 99]


def test_eot_looks_as_often_as_it_says() -> None:
    it = linear(3, COUNT)
    problem = pose(it.model, it.x, Goal(it.y), ThreatModel("linf", 0.0), index=torch.arange(COUNT))
    before = it.model.forwards
    unrolled(apgd(steps=10, eot=5), problem)
    assert it.model.forwards - before == COUNT * (10 * 5 + 1)


def test_autoattack_has_its_published_parameters() -> None:
    for norm in ("linf", "l2"):
        ce, t, fab_t, square = map(build, suite("autoattack", norm).attacks)
        assert (ce.steps, ce.restarts) == (100, 1)
        assert (t.steps, t.restarts) == (100, 9)
        assert (fab_t.steps, fab_t.restarts) == (100, 9)
        assert square.settings["queries"] == 5000
        assert square.settings["p_init"] == 0.8
    ce, t, fab_t, square = map(build, suite("autoattack", "l1").attacks)
    assert (ce.settings["steps"], ce.restarts, ce.settings["wide"]) == (100, 5, True)
    assert (t.settings["steps"], t.restarts, t.settings["wide"]) == (100, 5, True)
    assert (fab_t.steps, fab_t.restarts) == (100, 9)
    ce, dlr = map(build, suite("autoattack-rand", "linf").attacks)
    assert (ce.settings["eot"], dlr.settings["eot"]) == (20, 20)


@pytest.mark.parametrize("attack", ["apgd-dlr", "apgd-t:targets=1"])
def test_a_target_among_ten_has_to_beat_all_of_them(attack: str) -> None:
    """Against the true label alone the ratio would stop where a third class wins."""
    it = linear(10, 16)
    target = (it.y + 5) % 10
    best = torch.tensor([closest_in_linf(it, row, int(target[row])) for row in range(16)])
    threat = ThreatModel("linf", 1.1 * best.float())
    outcome = attacked(attack, it, threat, Goal(it.y, target))
    assert_true(outcome, it, threat, Goal(it.y, target))
    assert outcome.fooled.all()
