"""Blurs of pictures `[B,C,H,W]`, batched: Gaussian, out of focus, motion, zoom, frosted glass."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from robustkit.distortions.warping import places, sampled
from robustkit.draws import Draws
from robustkit.norms import spread

MIRRORS = 3
"""How many pictures lie mirrored on each side, for blurs wider than the picture."""


def gaussian(x: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur of `sigma` pixels, the picture mirrored at its borders.

    Every row is a weighted mean of all rows, then every column of all columns: one product each.
    """
    if sigma <= 0:
        return x
    down, across = (_weights(x, x.shape[axis], sigma) for axis in (2, 3))
    return down @ x @ across.T


def _weights(like: Tensor, count: int, sigma: float) -> Tensor:
    """How much place j adds to place i, with all its mirror images, `[count, count]`."""
    place = torch.arange(count, device=like.device, dtype=torch.float32)
    images = [
        image
        for turn in range(-MIRRORS, MIRRORS + 1)
        for image in (place + 2 * count * turn, -1 - place + 2 * count * turn)
    ]
    near = [(-((place[:, None] - image[None]) ** 2) / (2 * sigma**2)).exp() for image in images]
    total = torch.stack(near).sum(0)
    return (total / total.sum(1, keepdim=True)).to(like.dtype)


def defocused(x: Tensor, radius: float, alias: float) -> Tensor:
    """Out of focus: a disk of `radius` pixels, its edge softened by a Gaussian of `alias`."""
    reach = int(radius) + 2
    place = torch.arange(-reach, reach + 1, device=x.device, dtype=torch.float32)
    disk = (place[:, None] ** 2 + place[None] ** 2 <= radius**2).to(x.dtype)
    kernel = gaussian((disk / disk.sum())[None, None], alias)
    height, width = x.shape[2:]
    wide = functional.pad(x, (reach,) * 4, mode="replicate")
    # In full precision whatever the device prefers, so that it can be made again.
    with torch.backends.cudnn.flags(allow_tf32=False):
        blurred = functional.conv2d(wide.flatten(0, 1)[:, None], kernel)
    return blurred.reshape(*x.shape[:2], height, width)


def motion_blurred(x: Tensor, radius: float, sigma: float, degrees: Tensor) -> Tensor:
    """Smeared along one direction `[B]`, half a Gaussian of `sigma` over 2 `radius` + 1 pixels."""
    rows, columns = places(x)
    angle = (degrees * torch.pi / 180)[:, None, None]
    total, weight = torch.zeros_like(x), 0.0
    for number in range(2 * int(radius) + 1):
        share = 2.718281828459045 ** (-(number**2) / (2 * sigma**2))
        down, right = rows + number * angle.sin(), columns + number * angle.cos()
        total = total + share * sampled(x, down, right, outside="border")
        weight += share
    return total / weight


def zoomed(x: Tensor, factor: float) -> Tensor:
    """The middle of a picture, enlarged `factor` times to the picture's size."""
    rows, columns = places(x)
    middle, centre = (x.shape[2] - 1) / 2, (x.shape[3] - 1) / 2
    down, right = middle + (rows - middle) / factor, centre + (columns - centre) / factor
    return sampled(x, down, right, outside="border")


def zoom_blurred(x: Tensor, factors: Sequence[float]) -> Tensor:
    """The mean of a picture and of what it is at several zooms."""
    total = x
    for factor in factors:
        total = total + zoomed(x, factor)
    return total / (len(factors) + 1)


def glassy(x: Tensor, *, reach: int, rounds: int, draws: Draws) -> Tensor:
    """Every pixel taken from up to `reach` pixels away, `rounds` times over."""
    rows, columns = (part.long() for part in places(x))
    height, width = x.shape[2:]
    for turn in range(rounds):
        away = draws.at(turn).integers(2 * reach, (2, height, width)) - reach
        down = (rows + away[:, 0]).clamp(0, height - 1)
        right = (columns + away[:, 1]).clamp(0, width - 1)
        source = (down * width + right).flatten(1)[:, None].expand(-1, x.shape[1], -1)
        x = x.flatten(2).gather(2, source).reshape(x.shape)
    return x


def bulged(x: Tensor, *, strength: float, sigma: float, jitter: float, draws: Draws) -> Tensor:
    """Stretched and bent: an affine map of random corners, then a random field, blurred.

    Corners move by up to `jitter` pixels each way, pixels by a field of `strength` times noise that
    was blurred by `sigma`.
    """
    rows, columns = places(x)
    height, width = x.shape[2:]
    noise = 2 * draws.at(0).uniform((2, height, width)).to(x) - 1
    field = strength * gaussian(noise, sigma) if strength else torch.zeros_like(noise)
    down, right = rows + field[:, 0], columns + field[:, 1]
    corners = jitter * (2 * draws.at(1).uniform((3, 2)).to(x) - 1)
    # Where a point lies in the triangle of the three corners that move.
    side = 2 * max(min(height, width) // 3, 1)
    up, across = (down - height // 2) / side, (right - width // 2) / side
    shares = torch.stack((up + 0.5, across - up, 0.5 - across), 1)
    shift = torch.einsum("bkhw,bkd->bdhw", shares, corners)
    return sampled(x, down + shift[:, 0], right + shift[:, 1], outside="reflection")


def relative(x: Tensor) -> Tensor:
    """Every picture stretched so that it goes from 0 to 1."""
    flat = x.flatten(1)
    low, high = spread(flat.amin(1), x), spread(flat.amax(1), x)
    return (x - low) / (high - low).clamp_min(1e-12)
