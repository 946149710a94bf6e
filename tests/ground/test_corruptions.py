"""Each corruption against what defines it: moments, other libraries, or arithmetic by hand."""

import colorsys
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from robustkit.distortions.blurs import defocused, gaussian, glassy, motion_blurred, zoomed
from robustkit.distortions.corruptions import COMMON, KINDS, corrupt, poisson
from robustkit.distortions.weather import plasma
from robustkit.draws import Draws
from robustkit.errors import UserError

SIDES = {"small": 32, "large": 96}


def drawn(count: int, seed: int = 0) -> Draws:
    return Draws.keyed(seed, torch.arange(count))


def grey(value: float, side: int, count: int = 4) -> Tensor:
    return torch.full((count, 3, side, side), value)


def pictures(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 6, 6), (4, 17, 30)])
def test_every_kind_takes_every_picture(kind: str, shape: tuple[int, ...]) -> None:
    """Results stay in bounds, belong to the sample, and severity 0 is no corruption."""
    x, draws = pictures(3, *shape), drawn(3)
    assert torch.equal(corrupt(x, kind, 0, draws), x)
    for severity in (1, 5):
        out = corrupt(x, kind, severity, draws)
        assert out.shape == x.shape
        assert out.isfinite().all()
        assert out.min() >= 0
        assert out.max() <= 1
        alone = corrupt(x[1:2], kind, severity, draws.take(torch.tensor([1])))
        assert torch.allclose(alone[0], out[1], atol=1e-5)
        if kind != "saturate" or shape[0] == 3:
            assert (out - x).abs().mean() > 1e-3
    mixed = corrupt(x, kind, torch.tensor([0, 5, 1]), draws)
    assert torch.equal(mixed[0], x[0])
    assert torch.allclose(mixed[1], corrupt(x, kind, 5, draws)[1], atol=1e-5)


def test_there_are_fifteen_kinds_and_four_more_at_five_severities() -> None:
    assert (len(COMMON), len(KINDS)) == (15, 19)
    assert all(len(kind.small) == len(kind.large) == 5 for kind in KINDS.values())
    for wrong in (("rain", 1), ("fog", 6)):
        with pytest.raises(UserError):
            corrupt(grey(0.5, 8), *wrong, drawn(4))


@pytest.mark.parametrize("size", SIDES)
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_noise_has_its_published_strength(size: str, severity: int) -> None:
    side, draws = SIDES[size], drawn(4)

    def level(kind: str) -> float:
        return float(getattr(KINDS[kind], size)[severity - 1])

    noisy = corrupt(grey(0.5, side), "gaussian-noise", severity, draws)
    inside = math.erf(0.5 / level("gaussian-noise") / math.sqrt(2))
    assert float(((noisy > 0) & (noisy < 1)).float().mean()) == pytest.approx(inside, abs=0.02)
    assert float((noisy - 0.5).abs().median()) == pytest.approx(
        0.6745 * level("gaussian-noise"), rel=0.05
    )
    hit = corrupt(grey(0.5, side), "impulse-noise", severity, draws) != 0.5
    assert float(hit.float().mean()) == pytest.approx(level("impulse-noise"), rel=0.15)
    speckled = corrupt(grey(0.3, side), "speckle-noise", severity, draws)
    assert float((speckled - 0.3).abs().median()) == pytest.approx(
        0.6745 * 0.3 * level("speckle-noise"), rel=0.05
    )
    shot = corrupt(grey(0.25, side), "shot-noise", severity, draws)
    photons = level("shot-noise")
    assert float(shot.mean()) == pytest.approx(0.25, rel=0.04)
    assert float(shot.var()) == pytest.approx(0.25 / photons, rel=0.12)


@pytest.mark.parametrize("mean", [0.5, 3.0, 11.0, 14.0, 60.0])
def test_counts_follow_poissons_law(mean: float) -> None:
    counts = poisson(torch.full((1, 40000), mean), drawn(1))
    assert torch.equal(counts, counts.round())
    assert float(counts.mean()) == pytest.approx(mean, rel=0.02)
    assert float(counts.var()) == pytest.approx(mean, rel=0.04)
    skew = float(((counts - mean) ** 3).mean()) / mean**1.5
    assert skew == pytest.approx(mean**-0.5, abs=0.08)
    none = float((counts == 0).float().mean())
    assert none == pytest.approx(math.exp(-mean), abs=0.01)


@pytest.mark.parametrize("sigma", [0.6, 1.5, 4.0, 40.0])
def test_a_gaussian_blur_is_that_of_scipy(sigma: float) -> None:
    x = pictures(1, 2, 21, 30)
    theirs = gaussian_filter(x[0].numpy(), (0, sigma, sigma), mode="reflect", truncate=6)
    assert torch.allclose(gaussian(x, sigma)[0], torch.from_numpy(theirs), atol=2e-4)


def test_a_point_out_of_focus_is_a_disk() -> None:
    x = torch.zeros(1, 1, 31, 31)
    x[0, 0, 15, 15] = 1.0
    disk = defocused(x, 6, 0.1)[0, 0]
    assert float(disk.sum()) == pytest.approx(1, abs=1e-4)
    rows = torch.arange(31.0)[:, None] - 15
    far = (rows.square() + rows.T.square()).sqrt()
    assert (disk[far <= 6] > 0.9 / (math.pi * 36)).all()
    assert (disk[far > 7] < 1e-6).all()


def test_motion_smears_along_its_angle() -> None:
    x = torch.zeros(2, 1, 41, 41)
    x[:, 0, 20, 20] = 1.0
    smeared = motion_blurred(x, 6, 3.0, torch.tensor([0.0, 90.0]))
    assert torch.allclose(smeared[0, 0, 20].sum(), torch.tensor(1.0), atol=1e-4)
    assert torch.allclose(smeared[1, 0, :, 20].sum(), torch.tensor(1.0), atol=1e-4)
    # Half a Gaussian: the point itself counts most, and nothing lies on the other side.
    line = smeared[0, 0, 20]
    assert line.argmax() == 20
    assert line[21:].abs().max() < 1e-6
    assert float(line[18] / line[20]) == pytest.approx(math.exp(-(2**2) / (2 * 3**2)), rel=0.01)


def test_a_zoom_magnifies_the_middle() -> None:
    columns = torch.linspace(-1, 1, 33).expand(1, 1, 33, 33)
    assert torch.allclose(zoomed(columns, 2.0), columns / 2, atol=1e-5)
    assert torch.allclose(zoomed(columns, 1.0), columns, atol=1e-6)


def test_glass_moves_pixels_and_paints_none() -> None:
    x = torch.arange(400.0).reshape(1, 1, 20, 20) / 400
    moved = glassy(x, reach=2, rounds=1, draws=drawn(1))
    assert set(moved.flatten().tolist()) <= set(x.flatten().tolist())
    away = (moved - x) * 400
    down = (away / 20).round()
    assert down.abs().max() == 2
    assert (away - 20 * down).abs().max() <= 2.001


def test_contrast_brightness_and_saturation_are_those_of_the_colour_cone() -> None:
    x = pictures(1, 3, 5, 5)
    mean = x.mean((2, 3), keepdim=True)
    assert torch.allclose(corrupt(x, "contrast", 3, drawn(1)), mean + 0.4 * (x - mean))
    for kind, change in (
        ("brightness", lambda h, s, v: (h, s, min(v + 0.15, 1))),
        ("saturate", lambda h, s, v: (h, min(1.5 * s, 1), v)),
    ):
        ours = corrupt(x, kind, 3, drawn(1))[0].flatten(1).T
        for pixel, seen in zip(x[0].flatten(1).T.tolist(), ours, strict=True):
            wanted = colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*pixel)))
            assert torch.allclose(seen, torch.tensor(wanted), atol=1e-5)
    black = corrupt(torch.zeros(1, 3, 4, 4), "brightness", 5, drawn(1))
    assert torch.allclose(black, torch.tensor(0.3))


@pytest.mark.parametrize("severity", [1, 5])
def test_large_pixels_are_those_of_pillow(severity: int) -> None:
    x = (pictures(1, 1, 32, 32) * 255).round() / 255
    side = int(32 * KINDS["pixelate"].small[severity - 1])
    image = Image.fromarray((x[0, 0] * 255).byte().numpy())
    small = image.resize((side, side), Image.Resampling.BOX)
    theirs = np.asarray(small.resize((32, 32), Image.Resampling.BOX), np.float32) / 255
    ours = corrupt(x, "pixelate", severity, drawn(1))
    assert torch.allclose(ours[0, 0], torch.from_numpy(theirs), atol=1.5 / 255)


def test_a_cloud_fills_its_range_and_fog_keeps_the_brightest() -> None:
    cloud = plasma(drawn(2), 24, 40, 2.0)
    assert cloud.shape == (2, 1, 24, 40)
    assert cloud.min() >= 0
    assert cloud.max() <= 1
    assert not torch.equal(cloud[0], cloud[1])
    rough, smooth = (plasma(drawn(1), 32, 32, decay).diff().abs().mean() for decay in (1.3, 3.0))
    assert rough > 1.5 * smooth
    assert corrupt(torch.zeros(1, 3, 32, 32), "fog", 5, drawn(1)).max() == 0
    assert corrupt(pictures(2, 3, 32, 32), "fog", 5, drawn(2)).max() <= 1


@pytest.mark.parametrize("kind", ["snow", "frost", "brightness"])
def test_weather_makes_a_dark_picture_brighter_and_more_so_by_severity(kind: str) -> None:
    x = 0.2 * pictures(4, 3, 32, 32)
    light = [float(corrupt(x, kind, severity, drawn(4)).mean()) for severity in (1, 3)]
    assert float(x.mean()) < light[0] < light[1]


@pytest.mark.parametrize("severity", [1, 3])
def test_fog_takes_what_it_adds_from_the_contrast(severity: int) -> None:
    """Neighbours differ less by the published factor, clouds being smooth."""
    x = pictures(4, 3, 32, 32)
    density = KINDS["fog"].small[severity - 1][0]
    ratio = corrupt(x, "fog", severity, drawn(4)).diff().std() / x.diff().std()
    assert float(ratio) == pytest.approx(1 / (1 + density), rel=0.08)


def test_elastic_keeps_what_is_flat_and_moves_what_is_not() -> None:
    flat = grey(0.4, 32)
    assert torch.allclose(corrupt(flat, "elastic", 5, drawn(4)), flat, atol=1e-5)
    ramp = torch.linspace(0, 1, 32).expand(4, 3, 32, 32)
    bent = corrupt(ramp, "elastic", 3, drawn(4))
    # Field and corners move a pixel by a few pixels, of which each is 1/31 of the ramp.
    assert 0.2 / 31 < float((bent - ramp).abs().mean()) < 4 / 31


def test_parameters_are_those_of_the_nearer_size_and_bounds_are_the_threats() -> None:
    below, above = (corrupt(grey(0.5, s, 1), "brightness", 1, drawn(1)) for s in (84, 85))
    assert torch.allclose(below, torch.tensor(0.55))
    assert torch.allclose(above, torch.tensor(0.6))
    wide = corrupt(2 * grey(0.5, 32) - 1, "brightness", 1, drawn(4), bounds=(-1.0, 1.0))
    assert torch.allclose(wide, torch.tensor(0.1), atol=1e-6)
