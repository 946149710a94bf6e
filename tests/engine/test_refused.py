"""What cannot be attacked is refused in words, before any work; nothing is attacked by mistake."""

import pytest
import torch
from torch import Tensor, nn

from robustkit.attacks import build
from robustkit.attacks.attack import Attack
from robustkit.audit.attacking import attack
from robustkit.errors import RefusedError, UserError
from robustkit.model import Classifier
from robustkit.threat import ThreatModel
from tests.engine.small import labelled, linear, pictures

COUNT = 6


def given() -> tuple[Classifier, Tensor, Tensor]:
    model, x = linear(), pictures(COUNT)
    return model, x, labelled(model, x)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda y: y.float(), "integers"),
        (lambda y: y[:, None], "integers"),
        (lambda y: y.tolist(), "integers"),
        (lambda y: y[:2], "integers"),
        (lambda y: y - 1000, "labels from 0 to"),
        (lambda y: y + 1000, "labels from 0 to"),
    ],
)
def test_labels_that_are_none_are_refused(change, expected: str) -> None:  # type: ignore[no-untyped-def]
    model, x, y = given()
    before = model.forwards
    with pytest.raises(UserError, match=expected):
        attack("fgsm", model, x, change(y), "linf:0.1")
    assert model.forwards == before


def test_labels_of_any_whole_kind_are_taken() -> None:
    model, x, y = given()
    usual = attack("bim", model, x, y, "linf:0.1")
    for kind in (torch.uint8, torch.int32):
        assert torch.equal(attack("bim", model, x, y.to(kind), "linf:0.1").x_adv, usual.x_adv)


@pytest.mark.parametrize("target", [99, -1])
def test_a_target_that_is_no_class_is_refused(target: int) -> None:
    model, x, y = given()
    with pytest.raises(UserError, match="targets from 0 to"):
        attack("fgsm", model, x, y, "linf:0.1", target=torch.full_like(y, target))


def test_no_pictures_and_a_strange_batch_size_are_refused() -> None:
    model, x, y = given()
    with pytest.raises(UserError, match="at least one"):
        attack("fgsm", model, x[:0], y[:0], "linf:0.1")
    with pytest.raises(UserError, match="batch size"):
        attack("fgsm", model, x, y, "linf:0.1", batch_size=-1)


def test_a_named_attack_of_other_norms_is_refused() -> None:
    model, x, y = given()
    with pytest.raises(UserError, match="ead, which is for l1"):
        attack("ead", model, x, y, "linf:0.1")


@pytest.mark.parametrize(
    "threat",
    [
        ThreatModel("linf", torch.full((COUNT - 1,), 0.1)),
        ThreatModel("linf", 0.1, mask=torch.ones(2, 2, dtype=torch.bool)),
    ],
)
def test_budgets_and_masks_of_other_pictures_are_refused(threat: ThreatModel) -> None:
    model, x, y = given()
    with pytest.raises(UserError, match=r"budget|mask"):
        attack("fgsm", model, x, y, threat)


def test_a_module_is_as_good_as_its_classifier() -> None:
    model, x, y = given()
    results = [attack("bim", one, x, y, "linf:0.1") for one in (model, model.module)]
    assert torch.equal(results[0].x_adv, results[1].x_adv)


@pytest.mark.parametrize(
    "text",
    ["pgd:steps=0", "pgd:restarts=0", "pgd:eot=-1", "pgd:step_size=nan", "square:queries=0",
     "apgd-t:targets=0", "pgd:step_size=0", "pgd:sigma=-1"],
)  # fmt: skip
def test_an_attack_that_would_try_nothing_is_refused(text: str) -> None:
    """With no restarts every picture would be called robust."""
    with pytest.raises(UserError, match="number"):
        build(text)


def test_an_attack_without_steps_cannot_be_made() -> None:
    usual = build("pgd")
    with pytest.raises(UserError, match="at least one step"):
        Attack("none", usual.init, usual.step, 0)
    with pytest.raises(UserError, match="at least one step"):
        Attack("none", usual.init, usual.step, 1, restarts=0)


def test_zero_is_kept_where_it_means_something() -> None:
    assert build("masked-pgd:row=0,column=0").settings["row"] == 0
    assert build("pgd:sigma=0").settings == build("pgd").settings


class InPlace(nn.Module):
    """Normalises its input in place, as some published models do."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x.sub_(0.5).add_(0.5))
        return logits


def test_a_module_that_works_in_place_changes_no_picture() -> None:
    model, x, y = given()
    before = x.clone()
    usual = attack("bim", model, x, y, "linf:0.1")
    result = attack("bim", Classifier(InPlace(model.module)), x, y, "linf:0.1")
    assert torch.equal(x, before)
    assert torch.equal(result.fooled, usual.fooled)
    assert torch.allclose(result.x_adv, usual.x_adv, atol=1e-6)


def test_a_single_score_is_refused_with_a_way_out() -> None:
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 1)))
    with pytest.raises(RefusedError, match="two classes or more") as caught:
        model(torch.zeros(2, 1, 2, 2))
    assert "torch.cat" in caught.value.fix


@pytest.mark.parametrize("text", ["linf:8", "linf:1.5", "linf:255"])
def test_levels_of_255_are_no_budget(text: str) -> None:
    with pytest.raises(UserError, match=f"{text}/255"):
        ThreatModel.parse(text)
    assert ThreatModel.parse(text, (0.0, 255.0)).eps == float(text[5:])
    assert ThreatModel.parse("linf:1").eps == 1
