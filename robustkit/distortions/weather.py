"""Fog, frost, snow and spatter on pictures `[B,C,H,W]` in [0, 1], batched, drawn by sample."""

import torch
from torch import Tensor

from robustkit.distortions.blurs import gaussian, motion_blurred, relative, zoomed
from robustkit.draws import Draws

GREY = (0.299, 0.587, 0.114)
WATER = (175 / 255, 238 / 255, 238 / 255)
MUD = (63 / 255, 42 / 255, 20 / 255)
ICE = (0.86, 0.93, 1.0)
FROST_DECAY, FINE_DECAY = 1.6, 1.2


def plasma(draws: Draws, height: int, width: int, decay: float) -> Tensor:
    """A cloud in [0, 1] by the diamond-square rule, rough for a small `decay`, `[B,1,H,W]`.

    On a torus whose side is a power of two, of which the corner is taken.
    """
    side = 1 << (max(height, width) - 1).bit_length()
    step, wibble, turn = side, 100.0, 0
    cloud = torch.zeros(len(draws.key), side, side, device=draws.key.device)

    def filled(total: Tensor) -> Tensor:
        """The mean of four neighbours, and some noise."""
        nonlocal turn
        turn += 1
        noise = 2 * draws.at(turn).uniform(total.shape[1:]) - 1
        return total / 4 + wibble * wibble * noise

    while step >= 2:
        half = step // 2
        corners = cloud[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        cloud[:, half::step, half::step] = filled(pairs + pairs.roll(-1, 2))
        middles, corners = cloud[:, half::step, half::step], cloud[:, ::step, ::step]
        above = middles + middles.roll(1, 1) + corners + corners.roll(-1, 2)
        beside = middles + middles.roll(1, 2) + corners + corners.roll(-1, 1)
        cloud[:, ::step, half::step] = filled(above)
        cloud[:, half::step, ::step] = filled(beside)
        step, wibble = half, wibble / decay
    return relative(cloud)[:, None, :height, :width]


def foggy(x: Tensor, *, density: float, decay: float, draws: Draws) -> Tensor:
    """A cloud of `density` on top; what was brightest stays so."""
    brightest = x.flatten(1).amax(1)[:, None, None, None]
    cloud = plasma(draws, x.shape[2], x.shape[3], decay).to(x)
    return (x + density * cloud) * brightest / (brightest + density)


def frosted(x: Tensor, *, kept: float, ice: float, draws: Draws) -> Tensor:
    """`kept` times the picture and `ice` times a pane of frost.

    The pane is made, not photographed: ridges of a cloud for the needles, a finer one for the rime.
    """
    height, width = x.shape[2:]
    needles = 1 - (2 * plasma(draws.at(0), height, width, FROST_DECAY) - 1).abs()
    rime = plasma(draws.at(1), height, width, FINE_DECAY)
    pane = relative(needles**4 + 0.5 * rime).to(x)
    return kept * x + ice * pane * _colour(x, ICE)


def snowy(x: Tensor, parts: tuple[float, ...], draws: Draws) -> Tensor:
    """Flakes: noise, enlarged, cut off below, smeared; on a picture that has turned paler.

    `parts`: mean and deviation of the noise, zoom, cut-off, radius and sigma of the smear, and how
    much of the picture's own colours stays.
    """
    mean, deviation, zoom, least, radius, sigma, kept = parts
    noise = mean + deviation * draws.at(0).normal((1, *x.shape[2:])).to(x)
    flakes = zoomed(noise, zoom)
    flakes = torch.where(flakes < least, 0, flakes).clamp(0, 1)
    degrees = -135 + 90 * draws.at(1).uniform(()).to(x)
    flakes = motion_blurred(flakes, radius, sigma, degrees)
    pale = torch.maximum(x, _grey(x) * 1.5 + 0.5)
    return kept * x + (1 - kept) * pale + flakes + flakes.rot90(2, (2, 3))


def spattered(x: Tensor, parts: tuple[float, ...], draws: Draws) -> Tensor:
    """Drops of water, or of mud where the last of `parts` is not 0.

    `parts`: mean and deviation of the noise, its blur, cut-off, how strong or how soft, which.
    """
    mean, deviation, sigma, least, strength, mud = parts
    liquid = gaussian(mean + deviation * draws.normal((1, *x.shape[2:])).to(x), sigma)
    wet = (liquid > least).to(x)
    if mud:
        cover = gaussian(wet, strength)
        cover = torch.where(cover < 0.8, 0, cover)
        return x * (1 - cover) + cover * _colour(x, MUD)
    # A drop is thickest in its middle.
    drops = wet * liquid * gaussian(wet, 1.0)
    highest = drops.flatten(1).amax(1).clamp_min(1e-12)[:, None, None, None]
    return x + strength * drops / highest * _colour(x, WATER)


def _grey(x: Tensor) -> Tensor:
    """How bright every pixel is, `[B,1,H,W]`."""
    return (x * _colour(x, GREY)).sum(1, keepdim=True) if x.shape[1] == 3 else x.mean(1, True)


def _colour(x: Tensor, colour: tuple[float, ...]) -> Tensor:
    """A colour `[1,C,1,1]` for pictures `x`; its mean where they have none."""
    channels = x.shape[1]
    values = colour if channels == 3 else (sum(colour) / len(colour),) * channels
    # Made here and not on the host: a copy would wait for the device.
    parts = [torch.full((1, 1, 1, 1), value, dtype=x.dtype, device=x.device) for value in values]
    return torch.cat(parts, 1)
