"""What the audit adds for a defended model, norm by norm, and that it finds what others miss."""

import pytest
import torch
from torch import Tensor, nn

import robustkit as rk
from robustkit.attacks import build
from robustkit.attacks.attack import Block, Problem, State, begin, observe
from robustkit.attacks.parts.gradient import glance
from robustkit.attacks.viewed import viewed
from robustkit.audit import adaptive
from robustkit.audit.engine import Engine, Task
from robustkit.audit.plan import make_plan
from robustkit.defenses.detectors.scores import MaximumProbability
from robustkit.defenses.pipeline import Pipeline
from robustkit.goal import Goal
from robustkit.losses import margin
from robustkit.model import Classifier
from robustkit.threat import ThreatModel
from robustkit.zoo import load_model, load_samples
from tests.defenses.small import BLACK_AND_WHITE, RESIZED, SIX_BITS, Brightness
from tests.truth.closed_form import linear

DIGITS = load_samples("digits").take(24)
X, Y = DIGITS.pixels(slice(0, 24)), DIGITS.y
TRANSFORMED = {"flow:0.6": "stadv", "spatial:30,1": "worst-of-k", "corruption:4": "corruption"}


def model() -> Classifier:
    return load_model("digits-standard")


def watchful(*stages: object) -> Pipeline:
    detector = Brightness().calibrate(model(), X, false_alarms=0.25)
    return Pipeline(model(), stages, detector)  # type: ignore[arg-type]


def extended(threat: str, pipeline: Pipeline) -> tuple[str, ...]:
    suite = "minimum-norm" if threat.startswith("l0") else None
    plan = make_plan(threats=[threat], suite=suite)
    return adaptive.adapted(plan, pipeline.classifier()).bouts[0].attacks


@pytest.mark.parametrize("threat", TRANSFORMED)
def test_transformations_of_a_defended_model_are_adaptive_too(threat: str) -> None:
    attacks = extended(threat, watchful(BLACK_AND_WHITE, RESIZED))
    assert attacks[0].endswith("@undefended")
    assert any(text.endswith("@expected") for text in attacks)
    if threat.startswith("flow"):
        for view in ("bpda-identity", "bpda-surrogate", "detector-aware"):
            assert f"stadv:steps=40@{view}" in attacks
        assert "stadv:loss=evasive-0.1,steps=40@detector-aware" in attacks


@pytest.mark.parametrize("threat", TRANSFORMED)
def test_what_is_found_elsewhere_was_made_as_the_threat_allows(threat: str) -> None:
    """The referee makes every picture again, whichever view it was found on."""
    log = rk.audit(Pipeline(model(), (SIX_BITS,)), DIGITS, threat, attacks=[TRANSFORMED[threat]])
    record = log.threats[0]
    assert record.oblivious_accuracy is not None
    assert record.oblivious_accuracy < record.clean_accuracy
    assert all(attack.lost_claims == 0 for attack in record.attacks)


def test_a_flow_is_found_where_the_defense_has_no_slope() -> None:
    """Through two grey levels StAdv goes nowhere; through their stand-in it does, and is judged."""
    defended = Pipeline(model(), (BLACK_AND_WHITE,)).classifier()
    with torch.no_grad():
        right = defended(X).argmax(1) == Y
    x, y = X[right], Y[right]
    found = {
        view: rk.attack(f"stadv:steps=40{view}", defended, x, y, "flow:0.3")
        for view in ("", "@bpda-identity", "@bpda-surrogate")
    }
    assert not found[""].fooled.any()
    for view in ("@bpda-identity", "@bpda-surrogate"):
        result = found[view]
        assert result.fooled.sum() >= 5
        assert not result.lost.any()
        with torch.no_grad():
            assert (defended(result.x_adv).argmax(1) != y)[result.fooled].all()


@pytest.mark.parametrize("norm", ["linf:0.1", "l2:1", "l1:5"])
def test_a_detector_meets_disguise_and_certainty(norm: str) -> None:
    attacks = extended(norm, watchful())
    matching = [text for text in attacks if text.startswith("feature-matching")]
    assert attacks[1:3] == tuple(matching), "while there are most of the pictures to look like"
    assert {build(text).settings["match"] for text in matching} == {"features", "logits"}
    confident = [text for text in attacks if "confidence=" in text]
    assert len(confident) == (0 if norm.startswith("l1") else 4)
    assert all(build(text).settings["confidence"] > 0 for text in confident)
    harmless = extended(norm, Pipeline(model(), (SIX_BITS,)))
    assert not any("feature-matching" in text or "confidence" in text for text in harmless)


def test_a_detector_of_doubt_lets_the_certain_pass() -> None:
    """The nearest errors are all turned away; those that are surer than clean pictures are not."""
    it = linear(2, 40)
    detector = MaximumProbability().calibrate(it.model, it.x, false_alarms=0.05)
    defended = Pipeline(it.model, detector=detector).classifier()
    with torch.no_grad():
        accepted = defended(it.x).argmax(1) == it.y
        doubt = margin(it.model(it.x), Goal(1 - it.y))[accepted].min()
    few = "carlini-wagner:steps=300,rounds=4,step_size=0.02"
    plain, sure = (
        rk.attack(f"{text}@undefended", defended, it.x, it.y, "l2:10").fooled
        for text in (few, f"{few},confidence={float(doubt) * 1.1:.3f}")
    )
    assert not plain.any()
    assert sure.all()


class Twins(nn.Module):
    """Two features of the pixels' halves; the class is a steep function of both."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(2, 2)
        self.last.weight.data = torch.tensor([[-9.0, -9.0], [9.0, 9.0]])
        self.last.bias.data = torch.tensor([9.0, -9.0])

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.flatten(2).mean(1).chunk(2, 1)
        logits: Tensor = self.last(torch.stack((left.mean(1), right.mean(1)), 1))
        return logits


class Unlike(Brightness):
    """Turns away what differs between the halves: clean pictures never do."""

    name = "unlike"

    def judge(self, model: Classifier, seen: object) -> Tensor:
        halves = seen.x.flatten(1).chunk(2, 1)  # type: ignore[attr-defined]
        return (halves[0].mean(1) - halves[1].mean(1)).abs()


def test_a_disguise_needs_no_weight_between_two_goals() -> None:
    """Matching both features of a clean picture pleases any detector of features."""
    plain = Classifier(Twins())
    x = torch.linspace(0.2, 0.8, 20)[:, None, None, None].expand(-1, 1, 4, 4).contiguous()
    y = (x[:, 0, 0, 0] > 0.5).long()
    defended = Pipeline(plain, detector=Unlike().calibrate(plain, x + 0.01 * torch.rand(x.shape)))
    result = rk.attack(
        "feature-matching:steps=60@detector-aware", defended.classifier(), x, y, "linf:0.4"
    )
    assert result.fooled.all()
    assert not result.lost.any()


def test_what_an_attack_learns_on_a_view_is_used_and_judged_there() -> None:
    """A prepared attack keeps to its view: it must not fall back to the model as deployed."""
    seen: list[str] = []

    def noted(problem: Problem) -> State:
        seen.append(problem.model.name)
        return begin(problem, problem.x)

    def prepare(block: Block) -> object:
        seen.append(block.model.name)
        return attack.__class__(
            "noted", noted,
            lambda p, s: observe(p, s, *glance(p, s.x, margin))._replace(t=s.t + 1), 1,
        )  # fmt: skip

    attack = build("pgd:steps=1")
    attack = attack.__class__("noted", attack.init, attack.step, 1, prepare=prepare)  # type: ignore[arg-type]
    defended = Pipeline(model(), (BLACK_AND_WHITE,)).classifier()
    task = Task(defended, X, Goal(Y), ThreatModel("linf", 0.1), torch.arange(len(X)))
    with defended.frozen(), torch.no_grad():
        wrong = defended(X).argmax(1) != Y
        assert (wrong & (model()(X).argmax(1) == Y)).any()
        for view in ("bpda-identity", "undefended"):
            seen.clear()
            outcome = Engine().run(viewed(attack, view), task)
            assert set(seen) == {defended.views[view].name}
            assert torch.equal(outcome.fooled, wrong)
