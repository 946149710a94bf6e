"""Detectors: what they see, how sure they are, and that they are left as they were found."""

import copy
import math

import pytest
import torch
from torch import nn

from robustkit.attacks.patch import Patch, Recipe, place, upright
from robustkit.attacks.robust_dpatch import Shake, corner, robust_dpatch, upright_at
from robustkit.attacks.sight import OBJECTIVES, create, disappear, misclassify, sight
from robustkit.audit.attacking import attack
from robustkit.detector import Detector
from robustkit.errors import RefusedError, UserError
from robustkit.loading.detectors import load_detector
from tests.detection.shapes import FAMILIES, small_fcos

X = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
LABELS = torch.zeros(3, dtype=torch.int64)


def family(name: str) -> nn.Module:
    """An untrained detector whose own threshold lets everything pass, and that can be moved.

    The heads begin so close to zero that what they say hardly depends on the picture.
    """
    torch.manual_seed(0)
    module = FAMILIES[name]()
    inner = getattr(module, "roi_heads", module)
    inner.score_thresh = 0.0
    for weight in (inner.box_predictor if inner is not module else module.head).parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=0.1)
    return module


@pytest.fixture(params=FAMILIES)
def detector(request: pytest.FixtureRequest) -> Detector:
    return Detector(family(request.param))


def test_nothing_that_is_detected_is_surer_than_the_surest_candidate(detector: Detector) -> None:
    with detector.frozen(), torch.no_grad():
        sure = detector.odds(X).sigmoid()
    for row, found in enumerate(detector.detect(X)):
        assert len(found.scores) > 0
        assert float(found.scores.max()) == pytest.approx(float(sure[row].max()), rel=1e-4)
        surest = int(found.labels[found.scores.argmax()])
        assert float(sure[row, :, surest].max()) == pytest.approx(float(sure[row].max()), rel=1e-4)


@pytest.mark.parametrize("confidence", [0.001, 0.9])
def test_the_attack_ends_where_nothing_is_detected(detector: Detector, confidence: float) -> None:
    inner = getattr(detector.module, "roi_heads", detector.module)
    inner.score_thresh = float(detector.detect(X)[0].scores.max()) - 1e-4
    assert detector.threshold == inner.score_thresh
    model = sight(detector, "disappear", confidence=confidence)
    with model.frozen(), torch.no_grad():
        blind = model(X).argmax(1).bool()
    assert blind.tolist() == [not len(one.labels) for one in detector.detect(X, confidence)]
    assert confidence > 0.5 or not blind[0]


def test_a_picture_is_seen_alike_whatever_its_neighbours(detector: Detector) -> None:
    with detector.frozen(), torch.no_grad():
        together = detector.odds(X).sigmoid()
        alone = [detector.odds(x[None]).sigmoid()[0] for x in X]
    for both, one in zip(together, alone, strict=True):
        torch.testing.assert_close(both[: len(one)], one, rtol=1e-3, atol=1e-5)
        assert not both[len(one) :].any()


def test_only_detections_that_are_sure_enough_count(detector: Detector) -> None:
    every = detector.detect(X)[0].scores
    least = float(every.median())
    kept = detector.detect(X, least)[0].scores
    assert torch.equal(kept, every[every >= least])


@pytest.mark.parametrize("name", FAMILIES)
def test_attacks_leave_the_detector_bit_for_bit_as_it_was(name: str) -> None:
    module = family(name).train()
    next(child for child in module.modules() if isinstance(child, nn.BatchNorm2d)).eval()
    weight = next(module.parameters())
    weight.grad = torch.ones_like(weight)
    weight.requires_grad_(False)
    before, modes = copy.deepcopy(module.state_dict()), [m.training for m in module.modules()]
    wanted = [p.requires_grad for p in module.parameters()]
    dice = torch.get_rng_state()
    detector = Detector(module)
    model = sight(detector, "disappear", confidence=0.05)
    attack("pgd:steps=2", model, X, LABELS, "linf:8/255")
    robust_dpatch(model, X, recipe=Recipe((8, 8), steps=2, batch_size=2))
    detector.detect(X)
    after = module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert [m.training for m in module.modules()] == modes
    assert [p.requires_grad for p in module.parameters()] == wanted
    assert [p.grad is None for p in module.parameters()].count(False) == 1
    assert torch.equal(torch.get_rng_state(), dice)
    assert not any(m._forward_hooks for m in module.modules())


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_each_objective_comes_nearer_within_the_budget(name: str, objective: str) -> None:
    detector = Detector(family(name))
    model = sight(detector, objective, confidence=0.01, target=2)
    result = attack("pgd:steps=10", model, X, LABELS, "linf:8/255")
    assert float((result.x_adv - X).abs().max()) <= 8 / 255 + 1e-6
    with model.frozen(), torch.no_grad():
        gaps = [model(x)[:, 1] - model(x)[:, 0] for x in (X, result.x_adv)]
    assert bool((gaps[1] >= gaps[0]).all())
    assert float((gaps[1] - gaps[0]).mean()) > 0


def test_gradients_agree_with_finite_differences_and_stay_in_their_picture() -> None:
    model = sight(Detector(family("fcos").double()), "create")
    x = X.double().requires_grad_()

    def gap(at: torch.Tensor) -> torch.Tensor:
        return model(at).diff(dim=1)[:, 0]

    with model.frozen():
        (slope,) = torch.autograd.grad(gap(x)[0], x)
        way = slope.sign()
        rise = gap(x.detach() + 1e-4 * way) - gap(x.detach() - 1e-4 * way)
    assert not slope[1:].any()
    assert float(rise[0].detach()) / 2e-4 == pytest.approx(float(slope.abs().sum()), rel=0.02)


def test_log_odds_of_a_softmax_are_exact_where_one_is_sure() -> None:
    from robustkit.detector import _of_softmax

    logits = torch.tensor([[0.0, 40.0, -3.0], [1.0, 0.5, 0.2], [30.0, -2.0, 1.0]])
    share = logits.double().softmax(1)
    exact = torch.stack(
        [share[:, k].log() - share[:, [j for j in range(3) if j != k]].sum(1).log() for k in (1, 2)]
    )
    found = _of_softmax(logits)
    torch.testing.assert_close(found[:, 1:].T.double(), exact, rtol=1e-5, atol=1e-5)
    assert bool((found[:, 0] == -math.inf).all())


def test_the_gaps_say_what_they_mean() -> None:
    # Two candidates, three labels; the confidence that counts is one half.
    odds = torch.tensor([[[-9.0, 2.0, -1.0], [-9.0, -2.0, -3.0]]])
    assert float(disappear(odds, 0.0, None)) == -2.0
    assert float(disappear(odds, 0.0, 2)) == 1.0
    assert float(misclassify(odds, 0.0, 2)) == -3.0
    assert float(misclassify(odds, 0.0, 1)) == 3.0
    mean = (torch.tensor([2.0, -2.0]).sigmoid()).mean().log()
    assert float(create(odds, 0.0, None)) == pytest.approx(float(mean))
    odds.requires_grad_()
    (slope,) = torch.autograd.grad(disappear(odds, 0.0, None).sum(), odds)
    assert int(slope.argmin()) == 1
    assert bool((slope <= 0).all())


def test_a_detector_of_nothing_at_all_is_blind() -> None:
    empty = torch.full((1, 4, 3), -math.inf)
    assert float(disappear(empty, 0.0, None)) > 0


def test_shaking_nothing_changes_nothing() -> None:
    still = Shake(rotation=0.0, crop=0.0, brightness=0.0)
    torch.testing.assert_close(still.apply(X), X, rtol=0, atol=1e-5)
    assert float((Shake().apply(X) - X).abs().mean()) > 0.01


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_training_sees_the_patch_where_it_is_pasted(share: float) -> None:
    from robustkit.draws import Draws

    patch = Patch(torch.rand(3, 7, 9), torch.ones(7, 9) > 0)
    views = upright_at(X, (7, 9), share)
    drawn = views.draw(patch, X, Draws.keyed(0, torch.arange(3)))
    pasted = place(patch, X, upright(X, patch, *corner(X, (7, 9), share)))
    torch.testing.assert_close(place(patch, X, drawn), pasted, rtol=0, atol=1e-4)


def test_the_same_seed_trains_the_same_patch() -> None:
    model = sight(Detector(small_fcos()), confidence=0.05)
    recipe = Recipe((8, 8), steps=2, batch_size=2)
    one, again, other = (robust_dpatch(model, X, recipe=recipe, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.pixels, again.pixels)
    assert not torch.equal(one.pixels, other.pixels)


def test_what_is_no_detector_is_refused() -> None:
    with pytest.raises(RefusedError, match="Faster R-CNN"):
        Detector(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
    with pytest.raises(UserError, match="detector of torchvision"):
        load_detector("torchvision:resnet18?weights=none")
    with pytest.raises(UserError, match="no file"):
        load_detector("nothing.safetensors")
    with pytest.raises(UserError, match="objective"):
        sight(Detector(small_fcos()), "blind")
    with pytest.raises(UserError, match="between 0 and 1"):
        sight(Detector(small_fcos()), confidence=0.0)
    with pytest.raises(UserError, match="larger"):
        robust_dpatch(sight(Detector(small_fcos())), X, recipe=Recipe((65, 8)))
