"""Common corruptions: noise, blur, weather and digital, 15 kinds and 4 more, at 5 severities.

Hendrycks & Dietterich 2019, arXiv 1903.12261, with the parameters that the authors published for
CIFAR-10-C (32x32) and ImageNet-C (224x224): pictures whose shorter side is below 85 pixels, the
geometric mean of both, get the former, all others the latter; lengths in pixels are not scaled.

Everything is batched, on the pictures' device, and drawn by sample. What differs from the authors'
code: results are not rounded to 8 bits; Poisson counts above 12 are drawn by a normal law with the
third moment corrected; glass takes pixels with replacement instead of swapping them in turn; frost
is made, as the photographs are not ours; drops of spatter are thickest in their middle instead of
being embossed; motion and zoom interpolate along the exact line; the elastic map is drawn for its
inverse and sampled once. Grey pictures get the same, colours by their brightness; they cannot be
saturated and stay as they are.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from robustkit.distortions.blurs import (
    bulged,
    defocused,
    gaussian,
    glassy,
    motion_blurred,
    zoom_blurred,
)
from robustkit.distortions.jpeg import jpeg
from robustkit.distortions.weather import foggy, frosted, snowy, spattered
from robustkit.draws import Draws
from robustkit.errors import UserError
from robustkit.norms import spread

SMALL_BELOW = 85
SEVERITIES = 5
FEW_COUNTS = 12.0
"""Up to this mean Poisson counts are drawn exactly."""


def _gaussian_noise(x: Tensor, scale: float, draws: Draws) -> Tensor:
    return x + scale * draws.normal(x.shape[1:]).to(x)


def _shot_noise(x: Tensor, photons: float, draws: Draws) -> Tensor:
    return poisson(x * photons, draws) / photons


def _impulse_noise(x: Tensor, share: float, draws: Draws) -> Tensor:
    hit = draws.at(0).uniform(x.shape[1:]) < share
    return torch.where(hit, (draws.at(1).signs(x.shape[1:]).to(x) + 1) / 2, x)


def _speckle_noise(x: Tensor, scale: float, draws: Draws) -> Tensor:
    return x + x * scale * draws.normal(x.shape[1:]).to(x)


def poisson(mean: Tensor, draws: Draws) -> Tensor:
    """Poisson counts `[B, ...]` of the given means, exact for small ones.

    >>> counts = poisson(torch.full((1, 20000), 4.0), Draws.keyed(0, torch.tensor([0])))
    >>> round(float(counts.mean())), round(float(counts.var()))
    (4, 4)
    """
    few, uniform = mean.clamp_max(FEW_COUNTS), draws.at(0).uniform(mean.shape[1:]).to(mean)
    chance = (-few).exp()
    count, below = torch.zeros_like(mean), chance
    for number in range(1, 41):
        count = count + (uniform >= below)
        chance = chance * few / number
        below = below + chance
    normal = draws.at(1).normal(mean.shape[1:]).to(mean)
    many = mean + mean.sqrt() * normal + (normal.square() - 1) / 6
    return torch.where(mean > FEW_COUNTS, many.round().clamp_min(0), count)


def _contrast(x: Tensor, share: float, draws: Draws) -> Tensor:
    mean = x.mean((2, 3), keepdim=True)
    return mean + (x - mean) * share


def _brightness(x: Tensor, more: float, draws: Draws) -> Tensor:
    """A higher value of every colour, hue and saturation kept."""
    value = x.amax(1, keepdim=True)
    return torch.where(value > 0, x / value.clamp_min(1e-12), 1.0) * (value + more).clamp(0, 1)


def _saturate(x: Tensor, factor: tuple[float, float], draws: Draws) -> Tensor:
    """Another saturation of every colour, hue and value kept; what has none is taken for red."""
    if x.shape[1] != 3:
        return x
    value = x.amax(1, keepdim=True)
    fall = 1 - x / value.clamp_min(1e-12)
    most = fall.amax(1, keepdim=True)
    red = torch.cat((torch.zeros_like(value), torch.ones_like(value), torch.ones_like(value)), 1)
    direction = torch.where(most > 1e-6, fall / most.clamp_min(1e-6), red)
    return value * (1 - direction * (most * factor[0] + factor[1]).clamp(0, 1))


def _pixelate(x: Tensor, share: float, draws: Draws) -> Tensor:
    """Means over boxes, each shown as one large pixel."""
    height, width = x.shape[2:]
    down, across = (_boxes(side, max(int(side * share), 1), x) for side in (height, width))
    return functional.interpolate(down @ x @ across.T, (height, width), mode="nearest-exact")


def _boxes(side: int, count: int, like: Tensor) -> Tensor:
    """The mean of the pixels whose centre lies in each of `count` boxes, `[count, side]`."""
    pixel = torch.arange(side, device=like.device, dtype=torch.float32) + 0.5
    middle = (torch.arange(count, device=like.device, dtype=torch.float32) + 0.5) * side / count
    away = (pixel - middle[:, None]) * count / side
    inside = ((away > -0.5) & (away <= 0.5)).to(like.dtype)
    return inside / inside.sum(1, keepdim=True)


def _jpeg(x: Tensor, quality: int, draws: Draws) -> Tensor:
    return jpeg(x.clamp(0, 1), quality)


def _glass(x: Tensor, parts: tuple[float, int, int], draws: Draws) -> Tensor:
    sigma, reach, rounds = parts
    return gaussian(glassy(gaussian(x, sigma), reach=reach, rounds=rounds, draws=draws), sigma)


def _motion(x: Tensor, parts: tuple[float, float], draws: Draws) -> Tensor:
    return motion_blurred(x, *parts, -45 + 90 * draws.uniform(()).to(x))


def _zoom(x: Tensor, parts: tuple[int, int], draws: Draws) -> Tensor:
    """All zooms from 1 to below the limit, both in hundredths."""
    limit, stride = parts
    return zoom_blurred(x, [1 + hundredth / 100 for hundredth in range(0, limit, stride)])


def _elastic(x: Tensor, parts: tuple[float, float, float], draws: Draws) -> Tensor:
    strength, sigma, jitter = parts
    return bulged(x, strength=strength, sigma=sigma, jitter=jitter, draws=draws)


class Kind(NamedTuple):
    """One corruption: `run(x, parameters, draws)`, and its parameters by severity."""

    run: Callable[[Tensor, Any, Draws], Tensor]
    small: tuple[Any, ...]
    large: tuple[Any, ...]


KINDS: dict[str, Kind] = {
    "gaussian-noise": Kind(_gaussian_noise, (.04, .06, .08, .09, .10), (.08, .12, .18, .26, .38)),
    "shot-noise": Kind(_shot_noise, (500, 250, 100, 75, 50), (60, 25, 12, 5, 3)),
    "impulse-noise": Kind(_impulse_noise, (.01, .02, .03, .05, .07), (.03, .06, .09, .17, .27)),
    "defocus-blur": Kind(
        lambda x, parts, draws: defocused(x, *parts),
        ((.3, .4), (.4, .5), (.5, .6), (1, .2), (1.5, .1)),
        ((3, .1), (4, .5), (6, .5), (8, .5), (10, .5)),
    ),
    "glass-blur": Kind(
        _glass,
        ((.05, 1, 1), (.25, 1, 1), (.4, 1, 1), (.25, 1, 2), (.4, 1, 2)),
        ((.7, 1, 2), (.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    ),
    "motion-blur": Kind(
        _motion,
        ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    ),
    "zoom-blur": Kind(
        _zoom,
        ((6, 1), (11, 1), (16, 1), (21, 1), (26, 1)),
        ((11, 1), (16, 1), (21, 2), (26, 2), (31, 3)),
    ),
    "snow": Kind(
        snowy,
        (
            (.1, .2, 1, .6, 8, 3, .95), (.1, .2, 1, .5, 10, 4, .9), (.15, .3, 1.75, .55, 10, 4, .9),
            (.25, .3, 2.25, .6, 12, 6, .85), (.3, .3, 1.25, .65, 14, 12, .8),
        ),
        (
            (.1, .3, 3, .5, 10, 4, .8), (.2, .3, 2, .5, 12, 4, .7), (.55, .3, 4, .9, 12, 8, .7),
            (.55, .3, 4.5, .85, 12, 8, .65), (.55, .3, 2.5, .85, 12, 12, .55),
        ),
    ),
    "frost": Kind(
        lambda x, parts, draws: frosted(x, kept=parts[0], ice=parts[1], draws=draws),
        ((1, .2), (1, .3), (.9, .4), (.85, .4), (.75, .45)),
        ((1, .4), (.8, .6), (.7, .7), (.65, .7), (.6, .75)),
    ),
    "fog": Kind(
        lambda x, parts, draws: foggy(x, density=parts[0], decay=parts[1], draws=draws),
        ((.2, 3), (.5, 3), (.75, 2.5), (1, 2), (1.5, 1.75)),
        ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    ),
    "brightness": Kind(_brightness, (.05, .1, .15, .2, .3), (.1, .2, .3, .4, .5)),
    "contrast": Kind(_contrast, (.75, .5, .4, .3, .15), (.4, .3, .2, .1, .05)),
    "elastic": Kind(
        _elastic,
        ((0, 0, 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, .96, .96)),
        (
            (488, 170.8, 24.4), (488, 19.52, 48.8), (12.2, 2.44, 4.88), (17.08, 2.44, 4.88),
            (29.28, 2.44, 4.88),
        ),
    ),
    "pixelate": Kind(_pixelate, (.95, .9, .85, .75, .65), (.6, .5, .4, .3, .25)),
    "jpeg": Kind(_jpeg, (80, 65, 58, 50, 40), (25, 18, 15, 10, 7)),
    "speckle-noise": Kind(_speckle_noise, (.06, .1, .12, .16, .2), (.15, .2, .35, .45, .6)),
    "gaussian-blur": Kind(
        lambda x, sigma, draws: gaussian(x, sigma), (.4, .6, .7, .8, 1), (1, 2, 3, 4, 6)
    ),
    "spatter": Kind(
        spattered,
        (
            (.62, .1, .7, .7, .5, 0), (.65, .1, .8, .7, .5, 0), (.65, .3, 1, .69, .5, 0),
            (.65, .1, .7, .69, .6, 1), (.65, .1, .5, .68, .6, 1),
        ),
        (
            (.65, .3, 4, .69, .6, 0), (.65, .3, 3, .68, .6, 0), (.65, .3, 2, .68, .5, 0),
            (.65, .3, 1, .65, 1.5, 1), (.67, .4, 1, .65, 1.5, 1),
        ),
    ),
    "saturate": Kind(
        _saturate,
        ((.3, 0), (.1, 0), (1.5, 0), (2, .1), (2.5, .2)),
        ((.3, 0), (.1, 0), (2, 0), (5, .1), (20, .2)),
    ),
}  # fmt: skip

COMMON = tuple(KINDS)[:15]
"""The fifteen kinds that count; the other four are for tuning on."""


def corrupt(
    x: Tensor,
    kind: str,
    severity: int | Tensor,
    draws: Draws,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Tensor:
    """Corrupt pictures `x` `[B,C,H,W]` in `bounds`: one `kind`, `severity` 1 to 5 or `[B]` of them.

    At severity 0 a picture stays as it is. Raises UserError for another kind or severity.

    >>> x, draws = torch.rand(2, 3, 32, 32), Draws.keyed(0, torch.tensor([0, 1]))
    >>> corrupt(x, "fog", 3, draws).shape
    torch.Size([2, 3, 32, 32])
    """
    check_kind(kind)
    if isinstance(severity, Tensor):
        out = x
        for level in range(1, SEVERITIES + 1):
            changed = corrupt(x, kind, level, draws, bounds=bounds)
            out = torch.where(spread(severity == level, x), changed, out)
        return out
    if severity not in range(SEVERITIES + 1):
        raise UserError("a severity from 1 to 5", repr(severity), "write for example 3")
    if severity == 0:
        return x
    run, small, large = KINDS[kind]
    parameters = small if min(x.shape[2:]) < SMALL_BELOW else large
    low, high = bounds
    unit = run((x - low) / (high - low), parameters[severity - 1], draws).clamp(0, 1)
    return low + unit * (high - low)


def check_kind(kind: str) -> None:
    """Raise UserError for what is no kind of corruption."""
    if kind not in KINDS:
        raise UserError(f"a corruption: {', '.join(KINDS)}", repr(kind), "choose one of these")
