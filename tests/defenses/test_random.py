"""Defenses that draw random numbers: one lucky draw is no success, and their mean is attacked."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

import robustkit as rk
from robustkit.attacks.viewed import EOT, EXPECTED
from robustkit.audit import adaptive
from robustkit.audit.engine import Engine
from robustkit.audit.plan import make_plan
from robustkit.audit.referee import DRAWS, confirms, predict
from robustkit.audit.standing import Clean, Standing
from robustkit.audit.trials import _retried
from robustkit.defenses.pipeline import Pipeline
from robustkit.defenses.stage import Stage
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.zoo import load_model, load_samples
from tests.defenses.small import RESIZED

DIGITS = load_samples("digits").take(24)
X, Y = DIGITS.pixels(slice(0, 24)), DIGITS.y


def blanking(share: float) -> Pipeline:
    """The plain network, which now and then sees nothing at all."""

    def blank(x: Tensor) -> Tensor:
        return torch.where(torch.rand(len(x), 1, 1, 1) < share, 0 * x, x)

    return Pipeline(load_model("digits-standard"), (Stage("blanking", blank, random=True),))


class Biased(nn.Module):
    """Says the second of two classes in that share of calls, whatever it sees."""

    def __init__(self, share: float, sure: float = 1.0) -> None:
        super().__init__()
        self.share, self.sure = share, sure

    def forward(self, x: Tensor) -> Tensor:
        second = (torch.rand(len(x)) < self.share).float()
        return torch.stack((1 - second, self.sure * second), 1)


@pytest.mark.parametrize(("share", "label"), [(0.2, 0), (0.8, 1)])
def test_the_majority_decides_and_not_who_is_loudest(share: float, label: int) -> None:
    loud = Classifier(Biased(share, sure=1000.0 if label == 0 else 0.1), random=True)
    with loud.frozen():
        said, confidence, _ = predict(loud, torch.zeros(200, 1, 2, 2), 64)
    assert (said == label).float().mean() > 0.9
    assert loud.forwards == 200 * DRAWS
    assert ((confidence > 0) & (confidence < 1)).all()


def test_a_model_without_randomness_is_asked_once() -> None:
    model = load_model("digits-standard")
    goal = Goal((model(X).argmax(1) + 1) % 10)
    before = model.forwards
    assert confirms(model, X, goal).all()
    assert model.forwards - before == len(X)


@pytest.mark.parametrize("attack", ["square:queries=40", "uniform-noise:queries=40"])
def test_a_lucky_draw_ends_nothing(attack: str) -> None:
    """Nobody can be fooled within this budget, and one call of ten is wrong."""
    result = rk.attack(attack, blanking(0.1).classifier(), X, Y, "linf:0.001")
    assert not result.fooled.any()
    assert not result.lost.any()
    assert (result.queries >= 40).all()


def test_real_successes_are_found_behind_the_luck() -> None:
    """A black box that took luck for success would leave most of these pictures alone."""
    plain = rk.attack("square:queries=60", load_model("digits-standard"), X, Y, "linf:0.2")
    assert plain.fooled.sum() > 8
    fickle = rk.attack("square:queries=60", blanking(0.1).classifier(), X, Y, "linf:0.2")
    assert fickle.fooled.sum() >= plain.fooled.sum() - 2


@pytest.mark.parametrize("share", [0.2, 0.0])
def test_who_may_try_again_is_told_of(share: float) -> None:
    """One call of five is wrong: the majority is not, and nearly every tenfold attempt is."""
    defended = blanking(share).classifier()
    standing = Standing("linf:0.001", len(X))
    standing.reached = len(X)
    clean = Clean(Y, torch.ones(len(X)), torch.ones(len(X), dtype=torch.bool), 10)
    ring = SimpleNamespace(
        model=defended, samples=DIGITS, engine=Engine(),
        attack=lambda text, threat, rows: rk.attack("fgsm", defended, X[rows], Y[rows], threat),
    )  # fmt: skip
    found = _retried(ring, standing, clean)  # type: ignore[arg-type]
    assert [one.id for one in found] == (["RK-RETRY"] if share else [])
    for one in found:
        assert one.evidence["tried"] == len(X)
        assert one.evidence["wrong"] >= 0.6 * len(X)
        assert one.evidence["unattacked"] >= 0.6 * len(X)


def test_the_expected_view_is_a_mean_that_is_paid_for() -> None:
    model = Pipeline(Classifier(Biased(0.3)), (Stage("same", lambda x: x, random=True),))
    seen = model.classifier().views[EXPECTED]
    answer = seen(torch.zeros(500, 1, 2, 2)).exp()
    assert seen.forwards == 500 * EOT
    torch.testing.assert_close(answer.sum(1), torch.ones(500))
    either = torch.tensor([1.0, 0.0]).softmax(0)
    expected = 0.7 * either[0] + 0.3 * either[1]
    assert float(answer[:, 0].mean()) == pytest.approx(float(expected), abs=0.01)
    assert answer[:, 0].std() < 0.08


@pytest.mark.parametrize("attack", ["pgd:steps=3", "stadv:steps=3", "square:queries=5"])
def test_every_look_of_an_attack_on_a_random_view_is_a_mean(attack: str) -> None:
    defended = Pipeline(load_model("digits-standard"), (RESIZED,)).classifier()
    threat = "flow:0.2" if attack.startswith("stadv") else "linf:0.01"
    result = rk.attack(f"{attack}@expected", defended, X[:4], Y[:4], threat)
    looks = {"pgd": 4, "stadv": 4, "square": 5}[attack.partition(":")[0]]
    # The referee asks twice: for the picture and for its rounded form.
    assert result.forwards >= 4 * EOT * looks
    assert result.forwards <= 4 * (EOT * looks + 2 * DRAWS * looks)
    assert result.backwards in (0, 4 * EOT * 3)


def test_attacks_that_take_no_mean_themselves_are_given_one() -> None:
    defended = Pipeline(load_model("digits-standard"), (RESIZED,)).classifier()
    for threat in ("linf:0.1", "l0:3", "patch:3x3", "flow:0.5", "spatial:20,2"):
        asked = {"suite": "minimum-norm"} if threat == "l0:3" else {}
        plan = make_plan(threats=[threat], **asked)
        bout = adaptive.adapted(plan, defended).bouts[0]
        for text in bout.adaptive:
            assert "eot=20" in text or "@" in text, text
        assert any(text.endswith("@expected") or "eot=20" in text for text in bout.adaptive)
