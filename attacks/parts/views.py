"""Looking at other pictures than the point itself: scaled, resized, ahead, blurred gradients.

A view is `view(problem, state, x) -> pictures`, differentiable in `x`; views are chained, and the
gradient is the mean of those through all the pictures that come out.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from robustkit.attacks.attack import Problem, State
from robustkit.attacks.parts.gradient import Look, Source, glance
from robustkit.losses import Loss
from robustkit.norms import spread

View = Callable[[Problem, State, Tensor], Sequence[Tensor]]


def through(views: Sequence[View], loss: Loss) -> Source:
    """The mean gradient through chained views.

    Logits and loss are those at the point itself: where no view shows it, that is one forward more.
    """

    def source(problem: Problem, state: State) -> Look:
        """A look through all the pictures."""
        with torch.enable_grad():
            x = state.x.detach().requires_grad_()
            pictures: Sequence[Tensor] = [x]
            for view in views:
                pictures = [new for old in pictures for new in view(problem, state, old)]
            total, here = torch.zeros_like(x), None
            for picture in pictures:
                logits = problem.model(picture)
                value = loss(logits, problem.goal)
                total = total + problem.model.gradient(value, x, again=True) / len(pictures)
                if picture is x:
                    here = logits.detach(), value.detach()
        logits, value = here or glance(problem, state.x, loss)
        return Look(logits, value, total)

    return source


def scaled(copies: int) -> View:
    """The picture itself and halved, quartered ... (SI, Lin et al. 2020, arXiv 1908.06281)."""
    return lambda problem, state, x: [x, *(x / 2**power for power in range(1, copies))]


def ahead(decay: float, length: Callable[[Problem], Tensor]) -> View:
    """The point where the momentum would lead (NI, Lin et al. 2020, eq. 6)."""
    return lambda problem, state, x: [x + decay * spread(length(problem), x) * state.memory[0]]


def diverse(probability: float, smallest: float) -> View:
    """Shrunk at random and padded with zeros at random (DI, Xie et al. 2019, arXiv 1803.06978).

    Every sample draws its own: with `probability` a size between `smallest` and the whole.
    """

    def view(problem: Problem, state: State, x: Tensor) -> list[Tensor]:
        """One resized and padded picture."""
        draws = problem.draws.at(problem.restart, state.t)
        high, wide = x.shape[2:]
        rows = int(smallest * high) + draws.at(0).integers(high - int(smallest * high) + 1)
        columns = (rows * wide / high).round().long()
        top = draws.at(1).integers(high - rows + 1)
        left = draws.at(2).integers(wide - columns + 1)
        down, inside_rows = _stretch(high, rows, top)
        across, inside_columns = _stretch(wide, columns, left)
        grid = torch.stack(torch.broadcast_tensors(across[:, None], down[:, :, None]), dim=3)
        shrunk = functional.grid_sample(
            x, grid.to(x), padding_mode="border", align_corners=False
        ) * (inside_rows[:, None, :, None] & inside_columns[:, None, None])
        kept = draws.at(3).uniform(()) < probability
        return [torch.where(spread(kept, x), shrunk, x)]

    return view


def _stretch(pixels: int, size: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Where `pixels` output places look in [-1, 1] if the picture has `size` from `start`."""
    place = torch.arange(pixels, device=size.device) - start[:, None]
    return (2 * place + 1) / size[:, None] - 1, (place >= 0) & (place < size[:, None])


def blurred(source: Source, *, pixels: int, sigma: float) -> Source:
    """Gradients smoothed by a Gaussian of `pixels` a side (TI, Dong et al. 2019, 1904.02884)."""

    def blurring(problem: Problem, state: State) -> Look:
        """The look with its gradient smoothed."""
        seen = source(problem, state)
        channels = seen.gradient.shape[1]
        place = torch.arange(pixels, device=state.x.device) - (pixels - 1) / 2
        bell = torch.softmax(-(place / sigma).square() / 2, 0).to(state.x)
        kernel = (bell[:, None] * bell).expand(channels, 1, pixels, pixels)
        smooth = functional.conv2d(seen.gradient, kernel, padding=pixels // 2, groups=channels)
        return seen._replace(gradient=smooth)

    return blurring
