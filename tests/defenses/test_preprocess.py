"""Transforms: what they do to pictures, and whether they tell the truth about themselves."""

from typing import Any

import pytest
import torch
from scipy import ndimage, optimize
from torch import Tensor

from robustkit.defenses import ALONE, catalogue
from robustkit.defenses.gradient_smoothing import gradient_smoothing
from robustkit.defenses.preprocess import PREPROCESS
from robustkit.defenses.preprocess.total_variation import SOFT
from robustkit.defenses.stage import Stage
from robustkit.distortions.jpeg import jpeg
from robustkit.errors import UserError

STAGES = {**PREPROCESS, "gradient-smoothing": gradient_smoothing}


def pictures(channels: int = 3) -> Tensor:
    torch.manual_seed(0)
    return torch.rand(4, channels, 17, 22)


def ran(stage: Stage, x: Tensor, seed: int) -> Tensor:
    torch.manual_seed(seed)
    return stage.run(x)


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_come_out_as_pictures(name: str, channels: int) -> None:
    stage, x = STAGES[name](), pictures(channels)
    out = ran(stage, x, 1)
    assert out.shape == x.shape
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1
    assert not torch.equal(out, x)
    if stage.surrogate:
        assert stage.surrogate(x).shape == x.shape
    assert stage.name == name
    assert catalogue()[name].build is STAGES[name]
    assert ALONE in catalogue()[name].kind


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_random_if_and_only_if_it_says_so(name: str) -> None:
    stage, x = STAGES[name](), pictures()
    assert torch.equal(ran(stage, x, 1), ran(stage, x, 1))
    assert torch.equal(ran(stage, x, 1), ran(stage, x, 2)) != stage.random
    if not stage.random:
        torch.testing.assert_close(stage.run(x[1:2]), stage.run(x)[1:2])


@pytest.mark.parametrize("name", STAGES)
def test_a_gradient_that_is_no_use_has_a_stand_in(name: str) -> None:
    stage, x = STAGES[name](), pictures().requires_grad_()
    followed = stage.surrogate or stage.run
    (gradient,) = torch.autograd.grad((followed(x) * pictures()).sum(), x)
    assert float((gradient != 0).float().mean()) > 0.5
    if name in ("jpeg", "bit-depth", "total-variation"):
        assert stage.surrogate
        out = stage.run(x)
        if out.requires_grad:
            assert not torch.autograd.grad(out.sum(), x)[0].any()


def test_jpeg_is_that_of_the_library() -> None:
    x = pictures()
    assert torch.equal(PREPROCESS["jpeg"](quality=40).run(x), jpeg(x, 40))
    with pytest.raises(UserError, match="quality"):
        PREPROCESS["jpeg"](quality=0).run(x)


def test_bits_are_rounded_to_the_nearest_level() -> None:
    stage = PREPROCESS["bit-depth"](bits=2)
    x = torch.tensor([0.0, 0.16, 0.17, 0.5, 0.84, 1.0])
    torch.testing.assert_close(stage.run(x), torch.tensor([0, 0, 1, 2, 3, 3]) / 3)
    assert torch.equal(PREPROCESS["bit-depth"](bits=8).run(stage.run(x)), stage.run(x))


def test_smoothing_is_that_of_scipy() -> None:
    x = pictures(1)
    median = ndimage.median_filter(x[0, 0].numpy(), 5, mode="mirror")
    torch.testing.assert_close(PREPROCESS["median"](size=5).run(x)[0, 0], torch.from_numpy(median))
    blur = ndimage.gaussian_filter(x[0, 0].numpy(), 1.2, mode="reflect", truncate=8)
    torch.testing.assert_close(
        PREPROCESS["gaussian-smoothing"](sigma=1.2).run(x)[0, 0], torch.from_numpy(blur)
    )


def test_a_shrunken_picture_lies_whole_on_black() -> None:
    torch.manual_seed(0)
    x = torch.ones(300, 1, 40, 40)
    out = PREPROCESS["resize-pad"](lowest=0.5).run(x)
    share = out.mean((1, 2, 3))
    assert 0.24 < float(share.min()) < 0.3
    assert 0.9 < float(share.max()) <= 1
    columns = (out[:, 0] > 0.5).any(1).float()
    first, last = columns.argmax(1), 39 - columns.flip(1).argmax(1)
    assert torch.equal((last - first + 1).float(), columns.sum(1))
    room = share < 0.4
    assert int(first[room].min()) < 3
    assert int(first[room].max()) > 12
    whole = pictures()
    torch.testing.assert_close(PREPROCESS["resize-pad"](lowest=1.0).run(whole), whole)


def test_total_variation_finds_the_minimum() -> None:
    torch.manual_seed(1)
    x, weight = torch.rand(1, 1, 6, 7), 0.05

    def value(z: Tensor) -> float:
        total = 0.0
        for axis in (2, 3):
            gap = z.diff(dim=axis).abs()
            total += float(torch.where(gap < SOFT, gap**2 / (2 * SOFT), gap - SOFT / 2).sum())
        return float((z - x).square().sum()) / 2 + weight * total

    found = PREPROCESS["total-variation"](weight, keep=1.0, steps=400).run(x)
    best = optimize.minimize(
        lambda z: value(torch.tensor(z).view_as(x)), x.double().flatten().numpy(),
        bounds=[(0, 1)] * 42,
    )  # fmt: skip
    assert value(found) == pytest.approx(best.fun, rel=2e-3)
    assert value(x) > 1.2 * value(found)
    torch.testing.assert_close(PREPROCESS["total-variation"](0.0, keep=1.0).run(x), x)


def test_a_busy_patch_is_dimmed_and_the_rest_is_not() -> None:
    torch.manual_seed(0)
    x = torch.linspace(0.2, 0.8, 48).expand(1, 3, 48, 48).clone()
    x[:, :, 20:30, 20:30] = torch.rand(1, 3, 10, 10)
    out = gradient_smoothing(threshold=0.05).run(x)
    inside = out[:, :, 21:29, 21:29].mean() / x[:, :, 21:29, 21:29].mean()
    assert float(inside) < 0.4
    torch.testing.assert_close(out[:, :, :10], x[:, :, :10], atol=0.02, rtol=0)
    torch.testing.assert_close(gradient_smoothing(0.0).run(x), x)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("bit-depth", {"bits": 0}), ("median", {"size": 4}), ("gaussian-smoothing", {"sigma": 0}),
        ("resize-pad", {"lowest": 0.0}), ("total-variation", {"keep": 0.0}),
        ("gradient-smoothing", {"overlap": 15}),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_meant(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="fix"):
        STAGES[name](**settings)
