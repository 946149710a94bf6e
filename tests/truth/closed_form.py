"""Models whose closest adversarial points are known in closed form, walls included.

Everything here is computed in float64 and by other means than the attacks or the norms use. The
models are asymmetric: no two classes have gradients of the same length, no gradient is its own
mirror image, so that a flipped sign, a wrong class or a wrong tensor in a norm shows.
"""

from typing import NamedTuple

import torch
from scipy.optimize import linprog
from torch import Tensor, nn

from robustkit.model import Classifier

SHAPE = (2, 3, 6)
PIXELS = 36


class HalfSpaces(NamedTuple):
    """Per sample, half-spaces `<normal, delta> >= gap` whose union is the set of successes.

    `normal` `[N,M,D]`, `gap` `[N,M]`; `low` and `high` `[N,1,D]` are the walls of delta.
    """

    normal: Tensor
    gap: Tensor
    low: Tensor
    high: Tensor

    def distance(self, norm: str) -> Tensor:
        """The size of the smallest perturbation in any of them, `[N]`."""
        measure = {"l0": self._l0, "l1": self._l1, "l2": self._l2, "linf": self._linf}[norm]
        size = measure()
        reachable = (self.normal * self._walls()).sum(2) >= self.gap
        return torch.where(reachable, size, torch.inf).amin(1)

    def _walls(self) -> Tensor:
        return torch.where(self.normal > 0, self.high, self.low)

    def _l2(self) -> Tensor:
        return self._grow(lambda factor: self.normal * factor).square().sum(2).sqrt()

    def _linf(self) -> Tensor:
        return self._grow(lambda factor: self.normal.sign() * factor).abs().amax(2)

    def _grow(self, path) -> Tensor:  # type: ignore[no-untyped-def]
        """The first point of a path, clipped at the walls, that lies in the half-space."""
        low, high = torch.zeros_like(self.gap), torch.full_like(self.gap, 1e4)
        for _ in range(80):
            middle = (low + high) / 2
            point = path(middle[..., None]).clamp(self.low, self.high)
            short = (self.normal * point).sum(2) < self.gap
            low, high = torch.where(short, middle, low), torch.where(short, high, middle)
        return path(high[..., None]).clamp(self.low, self.high)

    def _l1(self) -> Tensor:
        """Pixels to their walls, the steepest first, the last one only as far as needed."""
        order = self.normal.abs().argsort(2, descending=True)
        slope = self.normal.abs().gather(2, order)
        room = self._walls().abs().gather(2, order)
        gained = (slope * room).cumsum(2) - slope * room
        missing = (self.gap[..., None] - gained).clamp_min(0)
        return torch.minimum(missing / slope.clamp_min(1e-12), room).sum(2)

    def _l0(self) -> Tensor:
        """Pixels to their walls, the most useful first, until it is enough."""
        gain = (self.normal * self._walls()).sort(2, descending=True).values.cumsum(2)
        return (gain < self.gap[..., None]).sum(2) + 1.0


class Known(NamedTuple):
    """A model, pictures that it gets right, and where its errors begin."""

    model: Classifier
    x: Tensor
    y: Tensor
    errors: HalfSpaces


class _Pieces(nn.Module):
    """logits = max over pieces of linear functions, bent below zero by an increasing function."""

    def __init__(self, weight: Tensor, bias: Tensor, slope: float) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight.float()), nn.Parameter(bias.float())
        self.bend = nn.LeakyReLU(slope)

    def forward(self, x: Tensor) -> Tensor:
        pieces = torch.einsum("nd,kjd->nkj", x.flatten(1), self.weight) + self.bias
        logits: Tensor = self.bend(pieces.amax(2))
        return logits


def pictures(count: int, seed: int) -> Tensor:
    """Pictures with a third of their pixels at 0 or 1, where a wall is in the way."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(count, *SHAPE, generator=generator) * 1.6 - 0.3).clamp(0, 1)


def linear(
    classes: int,
    count: int = 24,
    *,
    shift: float = 0.0,
    slope: float = 1.0,
    black_and_white: bool = False,
) -> Known:
    """A linear model, its logits shifted; `slope` < 1 bends them, which moves no boundary.

    In black and white every pixel is exactly 0 or 1 and can move one way only.
    """
    generator = torch.Generator().manual_seed(classes)
    weight = _weight(classes, generator) * torch.linspace(0.7, 1.3, classes)[:, None, None]
    bias = -(weight.sum(2) / 2) + torch.randn(classes, 1, generator=generator) / 4
    x = pictures(100 * count, seed=classes)
    x = x.round() if black_and_white else x
    return _known(weight, bias + shift, slope, x, count)


def pieces(classes: int, count: int = 24) -> Known:
    """Class 0 is linear, every other logit has a second, steeper piece that begins farther out."""
    generator = torch.Generator().manual_seed(100 + classes)
    first = _weight(classes, generator)
    turned = 1.6 * first + torch.randn(classes, 1, PIXELS, generator=generator) / 4
    weight = torch.cat((first, turned), 1)
    middle = torch.full((PIXELS,), 0.5, dtype=torch.float64)
    bias = -(weight @ middle)
    bias[:, 1] -= 0.3
    bias[0] += 1.0
    weight[0, 1], bias[0, 1] = weight[0, 0], bias[0, 0]
    return _known(weight, bias, 1.0, pictures(100 * count, seed=classes), count, only=0)


def _weight(classes: int, generator: torch.Generator) -> Tensor:
    """Weights `[K,1,D]` none of which is large, so that no single pixel decides."""
    drawn = torch.rand(2, classes, 1, PIXELS, generator=generator).double()
    return torch.where(drawn[0] < 0.45, -1.0, 1.0) * (0.3 + 0.7 * drawn[1])


def _known(
    weight: Tensor, bias: Tensor, slope: float, x: Tensor, count: int, only: int = -1
) -> Known:
    """Keep pictures that are right by some margin, and list the half-spaces of their errors."""
    model = Classifier(_Pieces(weight, bias, slope))
    values = torch.einsum("nd,kjd->nkj", x.flatten(1).double(), weight) + bias
    first, second = values.amax(2).topk(2, dim=1).values.unbind(1)
    label = values.amax(2).argmax(1)
    kept = (first - second > 1.0) & ((label == only) | (only < 0))
    rows = kept.nonzero().squeeze(1)[:count]
    assert len(rows) == count, "too few pictures for this model"
    x, y, values = x[rows], label[rows], values[rows]
    flat = x.flatten(1).double()
    normal = weight.flatten(0, 1)[None] - weight[y, :1]
    gap = values[torch.arange(count), y, 0][:, None] - values.flatten(1)
    own = torch.arange(len(weight)).repeat_interleave(weight.shape[1])[None] == y[:, None]
    gap = gap.masked_fill(own, 1e9)
    return Known(model, x, y, HalfSpaces(normal, gap, -flat[:, None], 1 - flat[:, None]))


def closest_in_linf(it: Known, row: int, target: int) -> float:
    """The exact linf distance to where a linear model says `target`, by linear programming."""
    x = it.x[row].flatten().double()
    weight = it.model.module.weight.detach().double()[:, 0]
    bias = it.model.module.bias.detach().double()[:, 0]
    others = [k for k in range(len(weight)) if k != target]
    ahead = weight[others] - weight[target]
    gap = bias[target] - bias[others] - ahead @ x
    # Variables: delta and its size; ahead . delta <= gap, and |delta| <= size pixel by pixel.
    eye, one = torch.eye(len(x)), torch.ones(len(x), 1)
    above = torch.cat((eye, -one), 1)
    below = torch.cat((-eye, -one), 1)
    rows = torch.cat((torch.nn.functional.pad(ahead, (0, 1)), above, below))
    limits = torch.cat((gap, torch.zeros(2 * len(x)).double()))
    walls = [(-float(v), 1 - float(v)) for v in x] + [(0.0, 1.0)]
    cost = [0.0] * len(x) + [1.0]
    solved = linprog(cost, A_ub=rows.numpy(), b_ub=limits.numpy(), bounds=walls)
    assert solved.status == 0
    return float(solved.fun)
