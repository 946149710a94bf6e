"""One patch for every picture: trained under the expectation over how it will be seen.

Brown et al. 2017 (arXiv 1712.09665): the patch that maximises the mean log probability of a class
over pictures, places, angles and sizes; with a total-variation term as in Sharif et al. 2016.
A printability term is that of Thys et al. 2019 (arXiv 1904.08653, section 3.1). Deviations: Adam on
pixels that are clipped to their bounds; brightness and perspective are drawn as well; without a
target, the log probability of any other class than the true one takes its place.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from robustkit.attacks.placing import Patch, Placement, Stack, Views, check_fits, place, upright
from robustkit.draws import Draws
from robustkit.errors import UserError
from robustkit.goal import Goal
from robustkit.losses import log_odds
from robustkit.model import Classifier

__all__ = [
    "Patch", "Placement", "Recipe", "Stack", "Views", "check_fits", "inks", "outline", "place",
    "success", "train_patch", "unprintable", "upright", "variation",
]  # fmt: skip

SHAPES = ("square", "round")


@dataclass(frozen=True)
class Recipe:
    """How a patch is trained: its size in pixels, its shape, steps, and pictures a step.

    Each of `batch_size` pictures is seen `draws` times a step. `step_size` is Adam's, in pixel
    units; `smooth` weighs the total variation, `printable` the distance to what ink can show.
    `mask` `[h,w]` bool says where the patch is opaque, in place of `size` and `shape`.
    """

    size: tuple[int, int] = (50, 50)
    shape: str = "square"
    steps: int = 100
    step_size: float = 0.05
    batch_size: int = 16
    draws: int = 1
    smooth: float = 0.0
    printable: float = 0.0
    mask: Tensor | None = None


def train_patch(
    model: Classifier,
    x: Tensor | Stack,
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
    mask = outline(recipe).to(model.device)
    noise = torch.rand(x.shape[1], *mask.shape, generator=generator)
    pixels = (low + (high - low) * (0.4 + 0.2 * noise)).to(model.device).requires_grad_()
    patch = Patch(pixels, mask)
    check_fits(patch, x)
    adam = torch.optim.Adam([pixels], lr=recipe.step_size)
    draws = Draws.keyed(seed, torch.arange(recipe.batch_size * recipe.draws, device=model.device))
    turns = torch.arange(recipe.batch_size).repeat_interleave(recipe.draws)
    order = torch.randperm(x.shape[0], generator=generator)
    with model.frozen(seed), torch.enable_grad():
        for step in range(recipe.steps):
            rows = order[(step * recipe.batch_size + turns) % len(order)]
            seen = x[rows].to(model.device)
            labels = y[rows.to(y.device)].to(model.device)
            goal = Goal(labels, None if target is None else torch.full_like(labels, target))
            shown = place(patch, seen, views.draw(patch, seen, draws.at(step)), model.bounds)
            missed = functional.softplus(-log_odds(model(shown), goal)).mean()
            if recipe.smooth:
                missed = missed + recipe.smooth * variation(patch)
            if recipe.printable:
                missed = missed + recipe.printable * unprintable(patch)
            (pixels.grad,) = torch.autograd.grad(missed, pixels)
            model.backwards += len(seen)
            adam.step()
            pixels.data.clamp_(low, high)
    return Patch(pixels.detach().cpu(), patch.mask.cpu())


def outline(recipe: Recipe) -> Tensor:
    """Where a patch of that recipe is opaque, `[h,w]` bool.

    Raises UserError for a shape or size that is none, and a mask that is opaque nowhere.
    """
    if recipe.mask is not None:
        if recipe.mask.dim() != 2 or not bool(recipe.mask.any()):
            raise UserError(
                "a mask [h,w] that is opaque somewhere", f"{list(recipe.mask.shape)}", "draw one"
            )
        return recipe.mask.bool()
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


def inks() -> Tensor:
    """Colours that a printer can show, `[27,3]` in [0, 1]: three inks on white paper.

    Cyan, magenta and yellow, each at nothing, half and full, in the mixtures of Neugebauer (1937)
    from the usual sRGB values of offset printing.

    >>> inks().shape, inks()[0]
    (torch.Size([27, 3]), tensor([1., 1., 1.]))
    """
    primaries = torch.tensor([
        [255, 255, 255], [255, 242, 0], [236, 0, 140], [237, 28, 36],
        [0, 174, 239], [0, 166, 81], [46, 49, 146], [54, 54, 57],
    ]).reshape(2, 2, 2, 3) / 255  # fmt: skip
    share = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    return torch.einsum("ai,bj,ck,ijkl->abcl", share, share, share, primaries).reshape(27, 3)


def unprintable(patch: Patch) -> Tensor:
    """Mean distance of the patch's pixels in [0, 1] to the nearest colour of `inks`.

    Thys et al. 2019, L_nps. Grey patches are compared with the inks' greys.
    """
    pixels, mask = patch
    colours = inks().to(pixels)
    if len(pixels) == 1:
        colours = colours.mean(1, keepdim=True)
    apart = (pixels.permute(1, 2, 0)[:, :, None] - colours).square().sum(3)
    # The root of zero has no gradient.
    nearest = apart.amin(2).clamp_min(1e-12).sqrt()
    return (nearest * mask).sum() / mask.sum()


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
