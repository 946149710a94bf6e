"""JPEG compression of pictures on the device: what a file of that quality would give back.

Baseline JPEG (ITU-T T.81) with the tables of its annex K, scaled by quality as the Independent
JPEG Group's library does; colours at half resolution (4:2:0) unless told otherwise. Huffman coding
loses nothing, so it is left out. Gradients pass through every rounding as if it were not there, if
wanted (straight-through, Bengio et al. 2013, arXiv 1308.3432).
"""

from collections.abc import Callable
from functools import cache
from math import cos, pi, sqrt

import torch
from torch import Tensor
from torch.nn import functional

from robustkit.errors import UserError

# Annex K.1 and K.2, by rows.
LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
    *[99] * 32,
)  # fmt: skip

# Pulls ties the same way on every device, whatever the order of its sums.
TIE = 1e-3


@cache
def _table(values: tuple[int, ...], quality: int, device: torch.device) -> Tensor:
    """The steps of a quality, `[8,8]`."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    steps = [min(max((value * scale + 50) // 100, 1), 255) for value in values]
    return torch.tensor(steps, dtype=torch.float32, device=device).reshape(8, 8)


@cache
def _waves(device: torch.device) -> Tensor:
    """The orthonormal cosine transform, `[8,8]`: a row a frequency."""
    rows = [[cos((2 * n + 1) * k * pi / 16) / 2 for n in range(8)] for k in range(8)]
    rows[0] = [value * sqrt(0.5) for value in rows[0]]
    return torch.tensor(rows, dtype=torch.float32, device=device)


def jpeg(
    x: Tensor, quality: int, *, subsampled: bool = True, straight_through: bool = False
) -> Tensor:
    """Pictures `x` `[B,C,H,W]` in [0, 1] after JPEG of `quality` 1 to 100, in steps of 1/255.

    Three channels are colours; any other number of them are so many grey pictures. With
    `straight_through` the gradient is that of no rounding at all, otherwise it is zero. Raises
    UserError for another quality.

    >>> x = torch.rand(1, 3, 16, 24)
    >>> float((jpeg(x, 100, subsampled=False) - x).abs().max()) < 0.02
    True
    """
    if not 1 <= quality <= 100:
        raise UserError("a JPEG quality from 1 to 100", str(quality), "write for example 75")
    whole = _through if straight_through else _rounded
    pixels = whole(x.float() * 255)
    if x.shape[1] == 3:
        colours = pixels.movedim(1, -1) @ _to_yuv(x.device).T
        luma, chroma = colours.movedim(-1, 1).split((1, 2), 1)
        out = torch.cat(
            (
                _compressed(whole(luma) - 128, LUMINANCE, quality, whole) + 128,
                _chroma(chroma, quality, whole, subsampled=subsampled),
            ),
            1,
        )
        pixels = (out.movedim(1, -1) @ _to_rgb(x.device).T).movedim(-1, 1)
    else:
        pixels = _compressed(pixels - 128, LUMINANCE, quality, whole) + 128
    return (whole(pixels).clamp(0, 255) / 255).to(x.dtype)


@cache
def _to_yuv(device: torch.device) -> Tensor:
    """Rows: luma and the two differences of colour (BT.601), without their offsets."""
    rows = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
    return torch.tensor(rows, device=device)


@cache
def _to_rgb(device: torch.device) -> Tensor:
    """The way back."""
    rows = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))
    return torch.tensor(rows, device=device)


def _chroma(
    colour: Tensor, quality: int, whole: Callable[[Tensor], Tensor], *, subsampled: bool
) -> Tensor:
    """Differences of colour, at half resolution if wanted, compressed and brought back."""
    if not subsampled:
        return _compressed(whole(colour), CHROMINANCE, quality, whole)
    height, width = colour.shape[2:]
    even = functional.pad(colour, (0, width % 2, 0, height % 2), mode="replicate")
    small = _compressed(whole(functional.avg_pool2d(even, 2)), CHROMINANCE, quality, whole)
    large = functional.interpolate(small, scale_factor=2.0, mode="bilinear", align_corners=False)
    return large[:, :, :height, :width]


def _compressed(
    plane: Tensor, values: tuple[int, ...], quality: int, whole: Callable[[Tensor], Tensor]
) -> Tensor:
    """Planes `[B,C,H,W]` around zero, quantised block by block."""
    height, width = plane.shape[2:]
    full = functional.pad(plane, (0, -width % 8, 0, -height % 8), mode="replicate")
    rows, columns = full.shape[2] // 8, full.shape[3] // 8
    blocks = full.unflatten(3, (columns, 8)).unflatten(2, (rows, 8)).movedim(3, 4)
    waves, steps = _waves(plane.device), _table(values, quality, plane.device)
    kept = whole(waves @ blocks @ waves.T / steps) * steps
    back = (waves.T @ kept @ waves).movedim(4, 3).flatten(4, 5).flatten(2, 3)
    # What a file holds are whole levels within their range.
    return whole(back).clamp(-128, 127)[:, :, :height, :width]


def _rounded(values: Tensor) -> Tensor:
    """To whole numbers, halves away from zero."""
    return (values.abs() + 0.5 + TIE).floor() * values.sign()


def _through(values: Tensor) -> Tensor:
    """The same with the gradient of the identity."""
    return values + (_rounded(values) - values).detach()
