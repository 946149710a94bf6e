"""Findings about an audit rather than a model: one case that has each, one that has not."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import robustkit as rk
from robustkit.audit.conduct import UNTRUSTED
from robustkit.audit.plan import Bout
from robustkit.audit.standing import Clean, Standing, Tally
from robustkit.audit.suspicion import after
from robustkit.zoo import load_model
from tests.engine.small import labelled, linear, pictures
from tests.trust import broken


def ids(log: rk.AuditLog) -> set[str]:
    return {finding.id for finding in log.findings}


def on_digits(module: nn.Module, threat: str = "linf:0.1", **settings: object) -> rk.AuditLog:
    return rk.audit(module, "zoo:digits", threat, samples=48, **settings)


def fought(tallies: dict[str, int], names: tuple[str, ...] = ()) -> dict[str, str]:
    """Findings and severities after made-up bouts of 100: `names` are who fooled whom, in order."""
    standing = Standing("linf:0.1", 100)
    standing.reached = 100
    standing.tallies = {text: Tally(attempted=100, fooled=n) for text, n in tallies.items()}
    standing.attack = [*names, *[""] * (100 - len(names))]
    clean = Clean(torch.zeros(100), torch.ones(100), torch.ones(100, dtype=torch.bool), 10)
    bout = Bout(threat="linf:0.1", attacks=tuple(tallies), cascade=bool(names))
    return {finding.id: finding.severity for finding in after(standing, bout, clean)}


def test_one_step_that_beats_many() -> None:
    assert "RK-ONE-STEP" in fought({"fgsm": 30, "pgd:steps=20": 20})
    assert "RK-ONE-STEP" not in fought({"fgsm": 20, "pgd:steps=20": 30})


def test_a_black_box_that_beats_gradients() -> None:
    tallies = {"pgd": 10, "square": 5}
    assert "RK-BLACK-BOX" in fought(tallies, ("pgd",) * 10 + ("square",) * 5)
    assert "RK-BLACK-BOX" not in fought(tallies, ("pgd",) * 10 + ("square",))


@pytest.mark.parametrize(
    ("gradient", "broken", "severity"),
    [("pgd", 10, "medium"), ("pgd", 11, "high"), ("fgsm", 30, "medium")],
)
def test_a_black_box_that_takes_a_tenth_of_all(gradient: str, broken: int, severity: str) -> None:
    """It voids the number, unless all that was tried before it was one step."""
    tallies = {gradient: 10, "square": broken}
    names = (gradient,) * 10 + ("square",) * broken
    assert fought(tallies, names)["RK-BLACK-BOX"] == severity
    assert "RK-BLACK-BOX" in UNTRUSTED


class Saturated(nn.Module):
    """Probabilities that round to zero and one."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities `[B,K]` of `x` `[B,C,H,W]`."""
        return (1000 * self.net(x)).softmax(1)


def test_where_scores_say_nothing_decisions_are_tried() -> None:
    """Neither gradients nor scores lead anywhere, and the model is as weak as without all that."""
    log = on_digits(Saturated(load_model("digits-standard").module), "linf:0.2", suite="quick")
    assert log.threats[0].robust_accuracy < 0.05
    assert any(attack.name.startswith("rays") for attack in log.threats[0].attacks)


@pytest.mark.parametrize(("classes", "expected"), [(2, True), (3, False)])
def test_too_few_classes_for_dlr(classes: int, expected: bool) -> None:
    model, x = linear(classes), pictures(12)
    log = rk.audit(model, (x, labelled(model, x)), "linf:0.02", attacks=["apgd-dlr:steps=5"])
    assert ("RK-FEW-CLASSES" in ids(log)) == expected


@pytest.mark.parametrize(("eps", "expected"), [(0.9 / 255, True), (25.5 / 255, False)])
def test_successes_that_a_file_would_undo(eps: float, expected: bool) -> None:
    """Below one grey level no change of a pixel survives rounding."""
    model, x = linear(3), pictures(400)
    log = rk.audit(model, (x, labelled(model, x)), f"linf:{eps}", attacks=["pgd:steps=5"])
    assert log.threats[0].attacks[0].fooled > 0
    assert ("RK-EIGHT-BIT" in ids(log)) == expected


class Wavy(nn.Module):
    """Ripples that are steeper than the slope they lie on."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        ripples = 6 * (400 * x).sin().flatten(1)[:, :10]
        return logits + ripples


def test_a_rough_loss_is_named() -> None:
    assert "RK-UNSTABLE" in ids(on_digits(Wavy(broken.standard()), attacks=["fgsm"]))
    assert "RK-UNSTABLE" not in ids(on_digits(broken.standard(), attacks=["fgsm"]))


class Purifier(nn.Module):
    """Moves its input down a loss of its own before it answers."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            moved = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad((moved - 0.5).square().sum(), moved)
        out: Tensor = self.net(x - 0.01 * slope)
        return out


def test_a_model_that_optimises_at_inference_is_named() -> None:
    assert "RK-DYNAMIC" in ids(on_digits(Purifier(broken.standard()), attacks=["fgsm"]))
    assert "RK-DYNAMIC" not in ids(on_digits(broken.standard(), attacks=["fgsm"]))


def test_a_checkpoint_without_preprocessing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "digits.safetensors"
    save_file(broken.standard().state_dict(), path)
    settings = {"arch": "robustkit.zoo.nets:digits_net", "samples": 20, "attacks": ["fgsm"]}
    silent = rk.audit(path, "zoo:digits", "linf:0.1", **settings)
    assert "RK-PREPROCESS" in ids(silent)
    said = rk.audit(path, "zoo:digits", "linf:0.1", preprocess="none", **settings)
    assert "RK-PREPROCESS" not in ids(said)


class LuckyAlone(nn.Module):
    """Right in the first call after loading, different later: claims that cannot be repeated."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x) + 6 * torch.randn(len(x), 10)
        return out


def test_claims_that_do_not_hold_again_are_not_counted() -> None:
    log = on_digits(LuckyAlone(broken.standard()), attacks=["pgd:steps=20"])
    assert "RK-LOST-CLAIMS" in ids(log)
    attack = log.threats[0].attacks[0]
    assert attack.lost_claims > 0
    assert "RK-LOST-CLAIMS" not in ids(on_digits(broken.standard(), attacks=["pgd:steps=20"]))


def test_a_quick_suite_says_so() -> None:
    assert "RK-QUICK" in ids(on_digits(broken.standard(), suite="quick", trials=False))
    assert "RK-QUICK" not in ids(on_digits(broken.standard(), attacks=["fgsm"]))


def test_more_that_achieves_less_is_named() -> None:
    """FGSM from the clean picture lands where the iterated attacks never come."""
    log = on_digits(broken.Detector(broken.standard()), suite="quick")
    assert ids(log) & {"RK-STEPS", "RK-EPS", "RK-ONE-STEP"}
    honest = on_digits(broken.standard(), suite="quick")
    assert not ids(honest) & {"RK-STEPS", "RK-EPS", "RK-ONE-STEP"}
