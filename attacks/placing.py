"""A patch on pictures: how it is seen, and the differentiable pasting of a whole batch at once.

The batch is placed by one `affine_grid`, a division for the perspective, and one `grid_sample`;
only the patch has a gradient. Its edge is hard, so that what is outside of it stays bit for bit.
"""

from dataclasses import dataclass
from math import pi
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from robustkit.draws import Draws
from robustkit.errors import UserError

NEAR = 1e-3
"""Depths below this lie behind the viewer: nothing of the patch is seen there."""


class Patch(NamedTuple):
    """Colours `[C,h,w]` in the bounds of a pixel, and where the patch is opaque, `[h,w]` bool."""

    pixels: Tensor
    mask: Tensor


class Stack(Protocol):
    """Pictures `[N,C,H,W]` that need not be in memory: their shape, and those at an index."""

    @property
    def shape(self) -> torch.Size:
        """`[N,C,H,W]`."""

    def __getitem__(self, index: Tensor, /) -> Tensor:
        """Those at `index` `[B]`, as `[B,C,H,W]`."""


class Placement(NamedTuple):
    """How each picture sees the patch, all `[B]`.

    `angle` in radians, counter-clockwise; `scale` of the patch's own size; `row` and `column` of
    its middle in pixels from the top left corner of the picture; `brightness` a factor. `tilt`
    `[B,2]` is how much nearer than its middle the right and the lower edge are, in units of the
    nearest corner's distance; a tilted patch stays within the outline it has from the front.
    """

    angle: Tensor
    scale: Tensor
    row: Tensor
    column: Tensor
    brightness: Tensor
    tilt: Tensor | None = None


@dataclass(frozen=True)
class Views:
    """What is drawn for each picture: the transformations that the patch must survive.

    Angles up to `rotation` degrees, sizes in `scale`, brightness up to `brightness` off, tilts up
    to `perspective` (below 0.5) each way; `at` fixes the middle of the patch as shares (row,
    column) of the picture, else it is anywhere inside.
    """

    rotation: float = 22.5
    scale: tuple[float, float] = (0.9, 1.1)
    brightness: float = 0.1
    perspective: float = 0.1
    at: tuple[float, float] | None = None

    def draw(self, patch: Patch, x: Tensor, draws: Draws) -> Placement:
        """One placement a picture; the patch lies inside wherever it fits."""
        height, width = patch.mask.shape
        drawn = draws.uniform((7,)).to(x.device)
        signed = 2 * drawn - 1
        angle = signed[:, 0] * (self.rotation * pi / 180)
        scale = self.scale[0] + (self.scale[1] - self.scale[0]) * drawn[:, 1]
        cos, sin = angle.cos().abs(), angle.sin().abs()
        extents = cos * height + sin * width, cos * width + sin * height
        row, column = (
            self._middle(axis, x.shape[2 + axis], scale * extents[axis], drawn[:, 2 + axis])
            for axis in (0, 1)
        )
        lit, tilt = 1 + self.brightness * signed[:, 4], self.perspective * signed[:, 5:]
        return Placement(angle, scale, row, column, lit, tilt)

    def _middle(self, axis: int, length: int, extent: Tensor, share: Tensor) -> Tensor:
        """The middle of something of `extent` in a picture of `length`; `share` of its room."""
        if self.at:
            return torch.full_like(share, self.at[axis] * length)
        return length / 2 + (share - 0.5) * (length - extent).clamp_min(0)


def upright(x: Tensor, patch: Patch, top: int, left: int) -> Placement:
    """The placement that pastes a patch pixel by pixel, its corner at `top`, `left`."""
    height, width = patch.mask.shape
    zero = torch.zeros(len(x), device=x.device)
    return Placement(zero, zero + 1, zero + top + height / 2, zero + left + width / 2, zero + 1)


def place(
    patch: Patch, x: Tensor, placement: Placement, bounds: tuple[float, float] = (0.0, 1.0)
) -> Tensor:
    """Pictures `[B,C,H,W]` with the patch on each; differentiable in the patch's pixels.

    Raises UserError for a patch that is larger than the pictures or has other colours.

    >>> patch, x = Patch(torch.ones(1, 2, 2), torch.ones(2, 2) > 0), torch.zeros(1, 1, 3, 4)
    >>> place(patch, x, upright(x, patch, 1, 2))[0, 0]
    tensor([[0., 0., 0., 0.],
            [0., 0., 1., 1.],
            [0., 0., 1., 1.]])
    """
    check_fits(patch, x)
    grid = _grid(patch, x, placement).to(x.dtype)
    count = len(x)
    colours = functional.grid_sample(
        patch.pixels.to(x).expand(count, -1, -1, -1),
        grid,
        padding_mode="border",
        align_corners=False,
    )
    opaque = functional.grid_sample(
        patch.mask.to(x).expand(count, 1, -1, -1), grid, mode="nearest", align_corners=False
    )
    low = bounds[0]
    lit = (low + (colours - low) * placement.brightness.to(x)[:, None, None, None]).clamp(*bounds)
    return torch.where(opaque > 0.5, lit, x)


def check_fits(patch: Patch, x: Tensor | Stack) -> None:
    """Raises UserError for a patch that cannot be put on pictures `[B,C,H,W]`."""
    have, want = tuple(patch.pixels.shape), tuple(x.shape[1:])
    if have[0] != want[0] or have[1] > want[1] or have[2] > want[2]:
        raise UserError(
            f"a patch of {want[0]} colours, no larger than the pictures, {want[1]}x{want[2]}",
            f"{have[0]} colours, {have[1]}x{have[2]}",
            "make the patch smaller or the pictures larger",
        )


def _grid(patch: Patch, x: Tensor, placement: Placement) -> Tensor:
    """Where each pixel of the pictures looks at in the patch, `[B,H,W,2]`."""
    height, width = patch.mask.shape
    high, wide = x.shape[2:]
    cos, sin = placement.angle.cos() / placement.scale, placement.angle.sin() / placement.scale
    across, down = wide / 2 - placement.column, high / 2 - placement.row
    rows = (
        (cos * wide / width, -sin * high / width, 2 * (cos * across - sin * down) / width),
        (sin * wide / height, cos * high / height, 2 * (sin * across + cos * down) / height),
    )
    theta = torch.stack([torch.stack(row, 1) for row in rows], 1)
    grid = functional.affine_grid(theta, [len(x), 1, high, wide], align_corners=False)
    return grid if placement.tilt is None else _tilted(grid, placement.tilt.to(grid))


def _tilted(grid: Tensor, tilt: Tensor) -> Tensor:
    """The grid seen in perspective; what would lie behind the viewer is put outside the patch."""
    depth = 1 + torch.einsum("bhwc,bc->bhw", grid, tilt)
    scale = 1 + tilt.abs().sum(1)
    seen = grid * (scale[:, None, None] / depth.clamp_min(NEAR))[..., None]
    return torch.where((depth > NEAR)[..., None], seen, 2.0)
