"""A defended pipeline: what it answers, what its attackers look at, and that it cannot opt out."""

import pytest
import torch
from torch import Tensor

import robustkit as rk
from robustkit.attacks import build
from robustkit.attacks.attack import Problem, pose, unrolled
from robustkit.audit import adaptive
from robustkit.audit.ledger import fingerprint
from robustkit.audit.plan import Plan, make_plan
from robustkit.audit.referee import predict
from robustkit.defenses.pipeline import Pipeline
from robustkit.defenses.postprocess import rounded, scaled
from robustkit.defenses.stage import Stage
from robustkit.errors import RefusedError, UserError
from robustkit.goal import Goal
from robustkit.losses import LOSSES, excess, margin
from robustkit.model import Classifier
from robustkit.threat import ThreatModel
from robustkit.zoo import load_model, load_samples
from tests.contract.syncs import counted_syncs
from tests.defenses.small import BLACK_AND_WHITE, DARKER, RESIZED, SIX_BITS, Brightness

DIGITS = load_samples("digits").take(24)
X, Y = DIGITS.pixels(slice(0, 24)), DIGITS.y


def model() -> Classifier:
    return load_model("digits-standard")


def watchful() -> Pipeline:
    return Pipeline(model(), detector=Brightness().calibrate(model(), X, false_alarms=0.25))


def gradient(of: Classifier, x: Tensor) -> Tensor:
    point = x.clone().requires_grad_()
    return of.gradient(of(point)[:, 0], point)


def posed(of: Classifier, threat: str = "linf:0.1") -> Problem:
    parsed = ThreatModel.parse(threat)
    return pose(of, X[:4], Goal(Y[:4], abstain=of.abstain), parsed, index=torch.arange(4))


@pytest.mark.parametrize(
    ("pipeline", "views"),
    [
        (Pipeline(model()), set()),
        (Pipeline(model(), (DARKER,)), {"undefended", "bpda-identity"}),
        (Pipeline(model(), (SIX_BITS,)), {"undefended", "bpda-identity", "bpda-surrogate"}),
        (Pipeline(model(), postprocess=rounded()), {"undefended", "no-post"}),
        (watchful(), {"undefended", "detector-aware"}),
    ],
    ids=["nothing", "smooth", "rounding", "post", "detector"],
)
def test_the_views_follow_from_the_parts(pipeline: Pipeline, views: set[str]) -> None:
    assert set(pipeline.classifier().views) == views


def test_stages_run_in_order_and_the_postprocessor_last() -> None:
    pipeline = Pipeline(model(), (DARKER, BLACK_AND_WHITE), postprocess=scaled(factor=2.0))
    expected = 2 * model()((0.9 * X > 0.5).float())
    with torch.no_grad():
        assert torch.allclose(pipeline.classifier()(X), expected, atol=1e-5)


def test_bpda_keeps_the_answers_and_replaces_the_gradient() -> None:
    defended = Pipeline(model(), (BLACK_AND_WHITE,)).classifier()
    assert not gradient(defended, X).any()
    inner = gradient(model(), (X > 0.5).float())
    slope = 10 * torch.sigmoid(10 * (X - 0.5)) * (1 - torch.sigmoid(10 * (X - 0.5)))
    for view, expected in (("bpda-identity", inner), ("bpda-surrogate", inner * slope)):
        looked = defended.views[view]
        with torch.no_grad():
            assert torch.allclose(looked(X), defended(X), atol=1e-4)
        assert torch.allclose(gradient(looked, X), expected, atol=1e-4)


def test_a_stage_that_is_mistaken_about_itself_is_straightened_too() -> None:
    wrong = Stage("mistaken", lambda x: (x * 16).round() / 16)
    defended = Pipeline(model(), (wrong,)).classifier()
    assert not gradient(defended, X).any()
    assert gradient(defended.views["bpda-identity"], X).any()


def test_a_stage_may_change_the_size() -> None:
    half = Stage("half", lambda x: x[:, :, ::2, ::2].round(), surrogate=lambda x: x[:, :, ::2, ::2])
    defended = Pipeline(model(), (half,)).classifier()
    assert all(gradient(defended.views[name], X).any() for name in ("bpda-identity",))
    assert gradient(defended.views["bpda-surrogate"], X).any()


def test_a_detector_adds_the_class_of_no_answer() -> None:
    pipeline = watchful()
    defended = pipeline.classifier()
    assert defended.abstain == 10
    with torch.no_grad():
        logits = defended(X)
        turned = X.flatten(1).mean(1) > pipeline.detector.threshold
    assert turned.sum() == 6
    assert torch.equal(logits.argmax(1) == 10, turned)
    assert torch.equal(logits[:, :10].argmax(1), model()(X).argmax(1))


@pytest.mark.parametrize("targeted", [False, True])
def test_success_is_wrong_and_accepted(targeted: bool) -> None:
    logits = torch.randn(500, 5, generator=torch.Generator().manual_seed(0))
    y = torch.arange(500) % 4
    goal = Goal(y, (y + 1) % 4 if targeted else None, abstain=4)
    best = logits.argmax(1)
    expected = best == goal.target if targeted else (best != y) & (best != 4)
    assert 0 < expected.sum() < 500
    assert torch.equal(goal.reached(logits), expected)
    assert torch.equal(margin(logits, goal) > 0, expected)
    assert torch.equal(goal.take(torch.tensor([3])).reached(logits[3:4]), expected[3:4])


@pytest.mark.parametrize("name", LOSSES)
def test_no_loss_takes_abstaining_for_a_wrong_class(name: str) -> None:
    """Whatever raises the logit of abstaining makes no loss larger."""
    logits = torch.randn(50, 5, dtype=torch.float64).requires_grad_()
    loss = LOSSES[name](logits, Goal(torch.arange(50) % 4, abstain=4))
    (slope,) = torch.autograd.grad(loss.sum(), logits)
    assert (slope[:, 4] <= 1e-12).all()
    assert (slope[:, 4] < 0).any()


def test_the_excess_is_positive_where_a_picture_is_turned_away() -> None:
    defended = watchful().classifier()
    with torch.no_grad():
        logits = defended(X)
    beyond = excess(logits, Goal(Y, abstain=10))
    assert torch.equal(beyond > 0, logits.argmax(1) == 10)
    assert not excess(logits, Goal(Y)).any()


def test_attacks_on_a_view_are_charged_to_the_model() -> None:
    defended = Pipeline(model(), (SIX_BITS,)).classifier()
    with defended.frozen(), torch.no_grad():
        unrolled(build("pgd:steps=5@bpda-identity"), posed(defended))
    # five looks and a last one there; each point and the best one here
    assert (defended.forwards, defended.backwards) == (4 * (6 + 6), 4 * 5)


@pytest.mark.parametrize("attack", ["apgd-ce", "orthogonal-pgd", "apgd-ce:loss=evasive-1"])
def test_no_step_on_a_view_waits_for_the_device(attack: str) -> None:
    detector = Brightness().calibrate(model(), X, false_alarms=0.25)
    defended = Pipeline(model(), (SIX_BITS,), detector, rounded()).classifier()
    chosen, problem = build(f"{attack}@detector-aware"), posed(defended)
    with defended.frozen(), torch.no_grad():
        state = chosen.init(problem)
        with counted_syncs() as waits:
            state = chosen.step(problem, state)
    assert not waits


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize("mode", ["orthogonal", "selective"])
def test_orthogonal_pgd_serves_one_goal_and_keeps_the_other(mode: str, wrong: bool) -> None:
    """Linear in both: the class turns on the first pixel, the detector on all of them alike."""
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    net[1].weight.data = torch.tensor([[-1.0, 0, 0, 0], [1, 0, 0, 0]])
    net[1].bias.data = torch.tensor([0.5, -0.5])
    x = torch.full((1, 1, 2, 2), 0.5)
    x[0, 0, 0, 0] = 0.7 if wrong else 0.3
    plain = Classifier(net)
    clean = torch.rand(40, 1, 2, 2, generator=torch.Generator().manual_seed(0)) / 4
    defended = Pipeline(plain, detector=Brightness().calibrate(plain, clean)).classifier()
    goal = Goal(torch.tensor([0]), abstain=2)
    index, attack = torch.zeros(1).long(), build(f"orthogonal-pgd:mode={mode},step_size=0.01")
    problem = pose(defended, x, goal, ThreatModel.parse("l2:0.1"), index=index)
    with defended.frozen(), torch.no_grad():
        state = attack.init(problem)._replace(x=x)
        moved = (attack.step(problem, state).x - x).flatten()
    assert moved.norm() == pytest.approx(0.01, rel=1e-3)
    to_leave, to_please = moved[0], -moved.mean()
    if mode == "orthogonal":
        assert float(to_leave if wrong else to_please) == pytest.approx(0, abs=1e-6)
    assert float(to_please if wrong else to_leave) > 1e-3


def test_who_does_not_know_the_defense_cannot_ask_it() -> None:
    """One query at the end, and the picture that was made without the defense."""
    defended = Pipeline(model(), (BLACK_AND_WHITE,)).classifier()
    with defended.frozen(), torch.no_grad():
        state = unrolled(build("pgd:steps=5@undefended"), posed(defended))
        alone = unrolled(build("pgd:steps=5"), posed(model()))
    assert defended.forwards == 4 * (6 + 1)
    assert torch.allclose(state.x_adv[~alone.fooled], alone.x_adv[~alone.fooled])
    assert torch.equal(state.fooled, defended(state.x_adv).argmax(1) != Y[:4])


@pytest.mark.parametrize("attack", ["pgd:steps=3", "square:queries=20", "fmn:steps=5"])
def test_success_on_a_view_is_success_on_the_model(attack: str) -> None:
    defended = Pipeline(model(), (BLACK_AND_WHITE,)).classifier()
    result = rk.attack(f"{attack}@bpda-surrogate", defended, X, Y, "linf:0.4")
    with torch.no_grad():
        wrong = defended(result.x_adv).argmax(1) != Y
    assert result.fooled.any()
    assert wrong[result.fooled].all()
    assert not result.lost.any()


def test_a_view_that_there_is_not() -> None:
    with pytest.raises(UserError, match="a view of"):
        rk.attack("pgd@nowhere", Pipeline(model(), (DARKER,)).classifier(), X, Y, "linf:0.1")
    with pytest.raises(UserError, match="it has none"):
        rk.attack("pgd@undefended", model(), X, Y, "linf:0.1")


def test_a_pipeline_in_a_pipeline_is_refused() -> None:
    with pytest.raises(UserError, match="one Pipeline"):
        Pipeline(Pipeline(model(), (DARKER,)).classifier(), (DARKER,)).classifier()


def test_a_detector_without_a_threshold_is_refused() -> None:
    with pytest.raises(UserError, match="threshold"):
        Pipeline(model(), detector=Brightness()).classifier()


def test_a_detector_of_another_model_is_refused() -> None:
    three = Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)))
    defended = Pipeline(three, detector=watchful().detector).classifier()
    with pytest.raises(RefusedError, match="for the 3 classes"):
        defended(X)


def test_everything_is_frozen_and_left_as_it_was() -> None:
    learned = torch.nn.Conv2d(1, 1, 3, padding=1)
    stage = Stage("learned", learned, surrogate=torch.nn.Conv2d(1, 1, 1))
    defended = Pipeline(model(), (stage,)).classifier()
    learned.train()
    with defended.frozen():
        assert not any(weight.requires_grad for weight in learned.parameters())
        assert not any(weight.requires_grad for weight in stage.surrogate.parameters())
    assert learned.training
    assert all(weight.requires_grad for weight in learned.parameters())


def test_no_device_takes_the_views_away() -> None:
    """On the device without memory everything has a shape and nothing a value."""
    pipeline = Pipeline(model(), (SIX_BITS,), Brightness().calibrate(model(), X), rounded())
    before = pipeline.classifier()
    defended = rk.load(before, device="meta")
    assert set(defended.views) == set(before.views)
    for one in (defended, *defended.views.values()):
        assert one.device.type == "meta"
        assert {value.device.type for value in one.module.state_dict().values()} == {"meta"}


def test_one_lucky_draw_decides_nothing() -> None:
    """Right in nine of ten calls: the referee says so of every picture, one call does not."""

    def noise(x: Tensor) -> Tensor:
        return torch.where(torch.rand(len(x), 1, 1, 1) < 0.1, 0 * x, x)

    fickle = Stage("fickle", noise, random=True)
    with model().frozen():
        label, _, finite = predict(Pipeline(model(), (fickle,)).classifier(), X, 24)
        once = Pipeline(model(), (fickle,)).classifier()(X.repeat(9, 1, 1, 1)).argmax(1)
        assert torch.equal(label, model()(X).argmax(1))
    assert finite.all()
    assert (once != label.repeat(9)).float().mean() > 0.05


def test_another_setting_is_another_model() -> None:
    def digest(bits: int) -> str:
        stage = Stage("bit-depth", lambda x: x, settings={"bits": bits})
        return fingerprint(Pipeline(model(), (stage,)).classifier())

    assert digest(1) == digest(1) != digest(2)


@pytest.mark.parametrize(
    "asked",
    [{"suite": "quick"}, {"suite": "autoattack"}, {"attacks": ["fgsm"]}, {"trials": False}],
)
def test_a_defense_cannot_opt_out(asked: dict[str, object]) -> None:
    plan = make_plan(threats=["linf:0.1"], **asked)
    defended = Pipeline(model(), (BLACK_AND_WHITE, RESIZED), postprocess=rounded()).classifier()
    attacks = adaptive.adapted(plan, defended).bouts[0].attacks
    assert attacks[0].endswith("@undefended")
    for view in ("bpda-identity", "bpda-surrogate", "no-post"):
        assert any(text.endswith(f"@{view}") and "eot=20" in text for text in attacks)
    assert any(text.startswith("square") for text in attacks)
    assert set(plan.bouts[0].attacks) < set(attacks)


def test_a_detector_brings_the_attacks_that_evade_it() -> None:
    plan = make_plan(threats=["l2:1"], attacks=["fgsm"])
    attacks = adaptive.adapted(plan, watchful().classifier()).bouts[0].attacks
    for weight in ("1", "0.3", "0.1", "0.03"):
        assert f"apgd-ce:loss=evasive-{weight}@detector-aware" in attacks
    assert {"orthogonal-pgd@detector-aware", "orthogonal-pgd:mode=selective@detector-aware"} <= set(
        attacks
    )


def test_an_ordinary_model_is_audited_as_before() -> None:
    plan = make_plan(threats=["linf:0.1"])
    assert adaptive.adapted(plan, model()) is plan


def test_every_added_attack_can_be_built() -> None:
    defended = Pipeline(
        model(), (BLACK_AND_WHITE, RESIZED), Brightness().calibrate(model(), X), rounded()
    )
    for threat in ("linf:0.1", "l2:1", "l1:5", "l0:3", "patch:3x3"):
        plan: Plan = make_plan(
            threats=[threat], suite=None if threat[:2] != "l0" else "minimum-norm"
        )
        for text in adaptive.adapted(plan, defended.classifier()).bouts[0].attacks:
            assert build(text).name
