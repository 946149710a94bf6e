"""One patch for every picture: trained under the expectation over how it will be seen.

Brown et al. 2017 (arXiv 1712.09665): the patch that maximises the mean log probability of a class
over pictures, places, angles and sizes; with a total-variation term as in Sharif et al. 2016.
Deviations: Adam on pixels that are clipped to their bounds; brightness is drawn as well; the
patch's edge is hard, so that what is outside of it stays bit for bit; without a target, the
log probability of any other class than the true one takes its place.

The whole batch is placed by one `affine_grid` and one `grid_sample`; only the patch has a gradient.
"""

from dataclasses import dataclass
from math import pi
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from robustkit.draws import Draws
from robustkit.errors import UserError
from robustkit.goal import Goal
from robustkit.losses import log_odds
from robustkit.model import Classifier

SHAPES = ("square", "round")


class Patch(NamedTuple):
    """Colours `[C,h,w]` in the bounds of a pixel, and where the patch is opaque, `[h,w]` bool."""

    pixels: Tensor
    mask: Tensor


class Placement(NamedTuple):
    """How each picture sees the patch, all `[B]`.

    `angle` in radians, counter-clockwise; `scale` of the patch's own size; `row` and `column` of
    its middle in pixels from the top left corner of the picture; `brightness` a factor.
    """

    angle: Tensor
    scale: Tensor
    row: Tensor
    column: Tensor
    brightness: Tensor


@dataclass(frozen=True)
class Views:
    """What is drawn for each picture: the transformations that the patch must survive.

    Angles up to `rotation` degrees, sizes in `scale`, brightness up to `brightness` off; `at` fixes
    the middle of the patch as shares (row, column) of the picture, else it is anywhere inside.
    """

    rotation: float = 22.5
    scale: tuple[float, float] = (0.9, 1.1)
    brightness: float = 0.1
    at: tuple[float, float] | None = None

    def draw(self, patch: Patch, x: Tensor, draws: Draws) -> Placement:
        """One placement a picture; the patch lies inside wherever it fits."""
        height, width = patch.mask.shape
        drawn = draws.uniform((5,)).to(x.device)
        signed = 2 * drawn - 1
        angle = signed[:, 0] * (self.rotation * pi / 180)
        scale = self.scale[0] + (self.scale[1] - self.scale[0]) * drawn[:, 1]
        cos, sin = angle.cos().abs(), angle.sin().abs()
        extents = cos * height + sin * width, cos * width + sin * height
        row, column = (
            self._middle(axis, x.shape[2 + axis], scale * extents[axis], drawn[:, 2 + axis])
            for axis in (0, 1)
        )
        return Placement(angle, scale, row, column, 1 + self.brightness * signed[:, 4])

    def _middle(self, axis: int, length: int, extent: Tensor, share: Tensor) -> Tensor:
        """The middle of something of `extent` in a picture of `length`; `share` of its room."""
        if self.at:
            return torch.full_like(share, self.at[axis] * length)
        return length / 2 + (share - 0.5) * (length - extent).clamp_min(0)


@dataclass(frozen=True)
class Recipe:
    """How a patch is trained: its size in pixels, its shape, steps, and pictures a step.

    Each of `batch_size` pictures is seen `draws` times a step. `step_size` is Adam's, in pixel
    units; `smooth` weighs the total variation.
    """

    size: tuple[int, int] = (50, 50)
    shape: str = "square"
    steps: int = 100
    step_size: float = 0.05
    batch_size: int = 16
    draws: int = 1
    smooth: float = 0.0


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


def check_fits(patch: Patch, x: Tensor) -> None:
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
    return functional.affine_grid(theta, [len(x), 1, high, wide], align_corners=False)


def train_patch(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    target: int | None = None,
    recipe: Recipe | None = None,
    views: Views | None = None,
    seed: int = 0,
) -> Patch:
    """Train one patch on pictures `x` `[N,C,H,W]` in the model's bounds with labels `y` `[N]`.

    With `target`, pictures shall be seen as that class, otherwise as any but their own. The model
    is left as it was. Raises UserError for a patch larger than the pictures, and a wrong shape.
    """
    recipe, views = recipe or Recipe(), views or Views()
    low, high = model.bounds
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(x.shape[1], *recipe.size, generator=generator)
    pixels = (low + (high - low) * (0.4 + 0.2 * noise)).to(model.device).requires_grad_()
    patch = Patch(pixels, outline(recipe).to(model.device))
    check_fits(patch, x)
    adam = torch.optim.Adam([pixels], lr=recipe.step_size)
    draws = Draws.keyed(seed, torch.arange(recipe.batch_size * recipe.draws, device=model.device))
    turns = torch.arange(recipe.batch_size).repeat_interleave(recipe.draws)
    order = torch.randperm(len(x), generator=generator)
    with model.frozen(seed), torch.enable_grad():
        for step in range(recipe.steps):
            rows = order[(step * recipe.batch_size + turns) % len(x)]
            seen = x[rows.to(x.device)].to(model.device)
            labels = y[rows.to(y.device)].to(model.device)
            goal = Goal(labels, None if target is None else torch.full_like(labels, target))
            shown = place(patch, seen, views.draw(patch, seen, draws.at(step)), model.bounds)
            missed = functional.softplus(-log_odds(model(shown), goal)).mean()
            missed = missed + recipe.smooth * variation(patch)
            (pixels.grad,) = torch.autograd.grad(missed, pixels)
            model.backwards += len(seen)
            adam.step()
            pixels.data.clamp_(low, high)
    return Patch(pixels.detach().cpu(), patch.mask.cpu())


def outline(recipe: Recipe) -> Tensor:
    """Where a patch of that shape is opaque, `[h,w]` bool; raises UserError for another shape."""
    height, width = recipe.size
    if recipe.shape not in SHAPES or height < 1 or width < 1:
        raise UserError(
            f"a shape {' or '.join(SHAPES)} and a size of at least 1x1",
            f"{recipe.shape!r}, {height}x{width}",
            "give another shape or size",
        )
    if recipe.shape == "square":
        return torch.ones(height, width, dtype=torch.bool)
    row, column = ((2 * torch.arange(n) + 1) / n - 1 for n in (height, width))
    return row.square()[:, None] + column.square() <= 1


def variation(patch: Patch) -> Tensor:
    """Mean absolute difference of neighbours that both belong to the patch."""
    pixels, mask = patch
    down = (pixels[:, 1:] - pixels[:, :-1]).abs() * (mask[1:] & mask[:-1])
    across = (pixels[:, :, 1:] - pixels[:, :, :-1]).abs() * (mask[:, 1:] & mask[:, :-1])
    return (down.sum() + across.sum()) / patch.pixels.numel()


def success(  # noqa: PLR0913 - what is shown to what, all named
    model: Classifier,
    patch: Patch,
    *,
    x: Tensor,
    y: Tensor,
    target: int | None = None,
    views: Views | None = None,
    seed: int = 0,
    batch_size: int = 64,
) -> Tensor:
    """Whether each picture with the patch on it is a success, `[N]` bool on the host."""
    found = []
    goal = Goal(y, None if target is None else torch.full_like(y, target))
    with model.frozen(seed), torch.no_grad():
        for rows in torch.arange(len(x)).split(batch_size):
            seen = x[rows].to(model.device)
            on = Patch(*(part.to(model.device) for part in patch))
            draws = Draws.keyed(seed, rows.to(model.device)).at(0)
            shown = place(on, seen, (views or Views()).draw(on, seen, draws), model.bounds)
            found.append(goal.take(rows).to(model.device).reached(model(shown)).cpu())
    return torch.cat(found)
