"""Norms as records of four pure functions over batches `[B, ...]` with a budget `eps: [B]`.

`size` measures, `project` brings a perturbation back into ball and box, `steepest` is the exact
maximiser of a linear function over ball and box, `sample` draws from the ball. A new norm is one
more record: no attack changes.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.draws import Draws
from robustkit.precision import exact

Box = tuple[Tensor, Tensor]
"""Lowest and highest admissible perturbation of every pixel, `low <= 0 <= high`, `[B, ...]`."""

TINY = 1e-30


class Norm(NamedTuple):
    """One norm. `delta` and `gradient` are `[B, ...]`, `eps` is `[B]`.

    - `size(delta) -> [B]`
    - `project(delta, eps, box) -> [B, ...]`: the nearest point (in l2) of ball and box
    - `steepest(gradient, eps, box) -> [B, ...]`: argmax of <gradient, delta> over ball and box;
      a box of None means none
    - `sample(like, eps, draws) -> [B, ...]`: uniform in the ball
    """

    name: str
    size: Callable[[Tensor], Tensor]
    project: Callable[[Tensor, Tensor, Box], Tensor]
    steepest: Callable[[Tensor, Tensor, Box | None], Tensor]
    sample: Callable[[Tensor, Tensor, Draws], Tensor]


def spread(values: Tensor, like: Tensor) -> Tensor:
    """Values `[B]` shaped `[B, 1, ...]`, so that they broadcast over `like`."""
    return values.reshape(-1, *[1] * (like.dim() - 1))


def _total(values: Tensor) -> Tensor:
    return values.flatten(1).sum(1)


def _shrink_into(delta: Tensor, eps: Tensor, size: Callable[[Tensor], Tensor]) -> Tensor:
    """Scale down what rounding left outside the ball."""
    return delta * spread((eps / size(delta).clamp_min(TINY)).clamp_max(1.0), delta)


# linf


def _size_linf(delta: Tensor) -> Tensor:
    return delta.flatten(1).abs().amax(1)


def _project_linf(delta: Tensor, eps: Tensor, box: Box) -> Tensor:
    radius = spread(eps, delta)
    return delta.clamp(torch.maximum(box[0], -radius), torch.minimum(box[1], radius))


def _steepest_linf(gradient: Tensor, eps: Tensor, box: Box | None) -> Tensor:
    step = gradient.sign().mul_(spread(eps, gradient))
    return step if box is None else step.clamp(*box)


def _sample_linf(like: Tensor, eps: Tensor, draws: Draws) -> Tensor:
    return (2 * draws.uniform(like.shape[1:]).to(like) - 1) * spread(eps, like)


# l2


def _size_l2(delta: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(delta.flatten(1), dim=1)
    return length


def _meet_ball(delta: Tensor, eps: Tensor, box: Box, factor: Tensor, rounds: int) -> Tensor:
    """The `factor` that solves |clip(factor * delta)| = eps, approached from below.

    Active sets: a pixel once at its wall stays there while the factor grows, so that few rounds
    find them all and the last one is exact.
    """
    square = delta.square()
    for _ in range(rounds):
        point = (delta * spread(factor, delta)).clamp(*box)
        free = (point > box[0]) & (point < box[1])
        left = eps.square() - _total(point.square() * ~free)
        wanted = (left.clamp_min(0) / _total(square * free).clamp_min(TINY)).sqrt()
        factor = torch.maximum(factor, wanted)
    return factor


def _project_l2(delta: Tensor, eps: Tensor, box: Box) -> Tensor:
    """clip(factor * delta) with the largest factor <= 1 that lies in the ball (the KKT point)."""
    start = (eps / _size_l2(delta).clamp_min(TINY)).clamp_max(1.0)
    factor = _meet_ball(delta, eps, box, start, rounds=6).clamp_max(1.0)
    return _shrink_into((delta * spread(factor, delta)).clamp(*box), eps, _size_l2)


def _steepest_l2(gradient: Tensor, eps: Tensor, box: Box | None) -> Tensor:
    unit = gradient / spread(_size_l2(gradient).clamp_min(TINY), gradient)
    if box is None:
        return unit * spread(eps, gradient)
    factor = _meet_ball(unit, eps, box, eps, rounds=40).clamp_max(1e12)
    return _shrink_into((unit * spread(factor, unit)).clamp(*box), eps, _size_l2)


def _sample_l2(like: Tensor, eps: Tensor, draws: Draws) -> Tensor:
    direction = draws.at(0).normal(like.shape[1:]).to(like)
    radius = draws.at(1).uniform(()).to(like) ** (1 / like[0].numel())
    return direction * spread(eps * radius / _size_l2(direction).clamp_min(TINY), like)


# l1


def _size_l1(delta: Tensor) -> Tensor:
    return _total(delta.abs())


def _project_l1(delta: Tensor, eps: Tensor, box: Box) -> Tensor:
    """Soft thresholding by one level a sample, then clipping (the KKT point of ball and box).

    The level is found by bisection and made exact on the last piece, where the size is linear.
    """
    room = torch.where(delta > 0, box[1], -box[0])
    height = delta.abs()
    low, high = torch.zeros_like(eps), height.flatten(1).amax(1)
    for _ in range(26):
        middle = (low + high) / 2
        over = _total((height - spread(middle, delta)).clamp_min(0).minimum(room)) > eps
        low, high = torch.where(over, middle, low), torch.where(over, high, middle)
    free = (height > spread(high, delta)) & (height - spread(low, delta) < room)
    full = height - spread(low, delta) >= room
    excess = _total(height * free) + _total(room * full) - eps
    level = (excess / _total(free.to(delta)).clamp_min(1)).clamp(low, high)
    kept = (height - spread(level, delta)).clamp_min(0).minimum(room)
    return _shrink_into(kept * delta.sign(), eps, _size_l1)


def _steepest_l1(gradient: Tensor, eps: Tensor, box: Box | None) -> Tensor:
    """Fill pixels to their walls, the largest gradients first, until eps is spent."""
    flat = gradient.flatten(1)
    if box is None:
        best = flat.abs().argmax(1, keepdim=True)
        step = flat.gather(1, best).sign() * eps[:, None]
        return torch.zeros_like(flat).scatter(1, best, step).reshape(gradient.shape)
    room = torch.where(gradient > 0, box[1], -box[0]).flatten(1) * (flat != 0)
    order = flat.abs().argsort(1, descending=True)
    rooms = exact(room.gather(1, order))
    spent = rooms.cumsum(1) - rooms
    take = (eps[:, None] - spent).clamp_min(0).minimum(rooms).to(flat)
    step = torch.zeros_like(flat).scatter(1, order, take) * flat.sign()
    return _shrink_into(step.reshape(gradient.shape), eps, _size_l1)


def _sample_l1(like: Tensor, eps: Tensor, draws: Draws) -> Tensor:
    heights = -(1 - draws.at(0).uniform(like.shape[1:])).log().to(like)
    signed = heights * draws.at(1).signs(like.shape[1:]).to(like)
    radius = draws.at(2).uniform(()).to(like) ** (1 / like[0].numel())
    return signed * spread(eps * radius / _size_l1(signed).clamp_min(TINY), like)


# l0


def _size_l0(delta: Tensor) -> Tensor:
    return _total((delta != 0).to(delta))


def _keep_most(scores: Tensor, count: Tensor) -> Tensor:
    """A mask of the `count[B]` highest positive scores of every sample."""
    flat = scores.flatten(1)
    rank = flat.argsort(1, descending=True).argsort(1)
    return ((rank < count[:, None].floor()) & (flat > 0)).reshape(scores.shape)


def _project_l0(delta: Tensor, eps: Tensor, box: Box) -> Tensor:
    clipped = delta.clamp(*box)
    gain = delta.square() - (delta - clipped).square()
    return clipped * _keep_most(gain, eps)


def _steepest_l0(gradient: Tensor, eps: Tensor, box: Box | None) -> Tensor:
    wall = gradient.sign() if box is None else torch.where(gradient > 0, box[1], box[0])
    return wall * _keep_most(gradient * wall, eps)


def _sample_l0(like: Tensor, eps: Tensor, draws: Draws) -> Tensor:
    chosen = _keep_most(draws.at(0).uniform(like.shape[1:]) + TINY, eps)
    return (2 * draws.at(1).uniform(like.shape[1:]).to(like) - 1) * chosen


NORMS: dict[str, Norm] = {
    norm.name: norm
    for norm in (
        Norm("l0", _size_l0, _project_l0, _steepest_l0, _sample_l0),
        Norm("l1", _size_l1, _project_l1, _steepest_l1, _sample_l1),
        Norm("l2", _size_l2, _project_l2, _steepest_l2, _sample_l2),
        Norm("linf", _size_linf, _project_linf, _steepest_linf, _sample_linf),
    )
}
