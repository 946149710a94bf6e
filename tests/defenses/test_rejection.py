"""What a model that abstains is worth, where the answer is known in closed form."""

import io

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

import robustkit as rk
from robustkit.defenses.detectors import fitted
from robustkit.defenses.detectors.features import Seen
from robustkit.defenses.pipeline import Pipeline
from robustkit.model import Classifier
from robustkit.report.defense_words import defense_words
from robustkit.report.html import render_html
from robustkit.report.markdown import render_markdown
from robustkit.report.terminal import render_terminal
from robustkit.zoo import load_model, load_samples
from tests.defenses.small import Brightness

SIDE = 4


class Threshold(nn.Module):
    """Class 1 above a mean of 0.5, slowly."""

    def forward(self, x: Tensor) -> Tensor:
        over = 10 * (x.flatten(1).mean(1) - 0.5)
        return torch.stack((-over, over), 1)


def grey(*means: float) -> Tensor:
    return torch.tensor(means)[:, None, None, None].expand(-1, 1, SIDE, SIDE).contiguous()


class Greyness(Brightness):
    """Turns away what is neither dark nor bright."""

    name = "greyness"

    def judge(self, model: Classifier, seen: Seen) -> Tensor:
        return -(super().judge(model, seen) - 0.5).abs()


def silent_in_the_middle() -> Pipeline:
    """It says nothing between 0.4 and 0.6."""
    model = Classifier(Threshold())
    detector = Greyness().calibrate(model, grey(*torch.linspace(0, 1, 40).tolist()))
    detector.threshold = torch.tensor(-0.1)
    detector.spread = torch.tensor(0.1)
    return Pipeline(model, detector=detector)


@pytest.fixture(scope="module")
def log() -> rk.AuditLog:
    """Nobody gets across the middle within 0.2, but many get into it."""
    x = grey(*[0.1, 0.15, 0.31, 0.33, 0.39, 0.45, 0.78, 0.9] * 3)
    y = torch.tensor([0, 0, 0, 0, 0, 0, 1, 0] * 3)
    return rk.audit(silent_in_the_middle(), (x, y), "linf:0.2", attacks=["pgd:steps=10"])


def test_silence_under_attack_is_no_error_and_on_clean_pictures_it_is(log: rk.AuditLog) -> None:
    one = log.threats[0].rejection
    assert one is not None
    # 0.45 gets no answer; 0.9 is wrong
    assert one.false_alarms == 1 / 8
    assert one.clean_accuracy_without == 7 / 8
    assert one.clean_accuracy_with == log.clean_accuracy == 6 / 8
    assert one.robust_accuracy == log.robust_accuracy == 6 / 8
    assert log.trusted


def test_credit_shrinks_with_the_perturbation_that_silences(log: rk.AuditLog) -> None:
    """The border is 0.01, 0.07, 0.09 and 0.18 away, of 0.2."""
    one = log.threats[0].rejection
    assert one is not None
    assert one.stratified == ((0, 6 / 8), (0.25, 5 / 8), (0.5, 3 / 8), (0.75, 3 / 8), (1.0, 2 / 8))
    assert one.no_credit == 2 / 8


def test_every_face_says_so(log: rk.AuditLog) -> None:
    words = defense_words(log.threats[0])
    assert len(words) == 3
    assert "75.0 %" in words[1]
    assert "25.0 %" in words[1]
    # What is implied within half the budget, and what is left there without credit for silence.
    assert "75.0 %" in words[2]
    assert "37.5 %" in words[2]
    out = io.StringIO()
    render_terminal(log, Console(file=out, width=2000))
    page = render_html(log).replace("\N{NO-BREAK SPACE}", " ")
    for text in (out.getvalue(), page, render_markdown(log)):
        assert "may abstain" in text
        assert "within half the budget" in text
        assert "(oblivious)" in text


def test_an_ordinary_model_has_none() -> None:
    log = rk.audit("zoo:digits-standard", "zoo:digits", samples=4, attacks=["fgsm"])
    assert log.threats[0].rejection is None
    assert defense_words(log.threats[0]) == []


def test_a_detector_that_sees_careless_attacks_does_not_see_careful_ones() -> None:
    """Mahalanobis distances: all of PGD's pictures are turned away, none of the adaptive ones."""
    model = load_model("digits-standard")
    detector = fitted("mahalanobis", model, load_samples("digits", split="train").take(600))
    log = rk.audit(
        Pipeline(model, detector=detector), "zoo:digits", "linf:0.2", samples=8, attacks=["fgsm"]
    )
    assert log.threats[0].oblivious_accuracy == log.clean_accuracy >= 0.75
    assert log.robust_accuracy == 0
    assert "RK-OBLIVIOUS" in {finding.id for finding in log.findings}
