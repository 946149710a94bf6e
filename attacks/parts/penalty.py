"""The search for the smallest weight of the model's loss that still fools it, sample by sample.

Carlini & Wagner 2017 (1608.04644), section VI-A: minimise size + weight * loss for a weight; double
or bisect it by whether that succeeded; begin again. Each sample goes its own way: its rounds end
when its own objective stalls, not when that of its batch does.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.goal import Goal
from robustkit.losses import margin

# An objective that a tenth of a round has not lowered by this share has stalled.
STALLED = 0.9999
HIGHEST = 1e10


class Search(NamedTuple):
    """Where the search stands, every tensor `[B]`.

    `weight` is tried now, `low` was too small, `high` was enough; `begun` is the step at which
    this round began, `rounds` how many are over; `hit` says whether this one succeeded yet;
    `lowest` is its objective at the last check.
    """

    weight: Tensor
    low: Tensor
    high: Tensor
    begun: Tensor
    rounds: Tensor
    hit: Tensor
    lowest: Tensor

    @classmethod
    def first(cls, weight: float, like: Tensor) -> "Search":
        """The search before its first round; `like` is a float tensor `[B]`."""
        zero = torch.zeros_like(like)
        count = zero.long()
        infinite = torch.full_like(zero, torch.inf)
        return cls(zero + weight, zero, infinite, count, count, count.bool(), infinite)


def note(
    search: Search, hit: Tensor, objective: Tensor, t: Tensor, length: int
) -> tuple[Search, Tensor]:
    """Take down one more look: whether it was a `hit`, its objective; and whose round is over.

    A round has `length` steps; it ends earlier where the objective has stalled.
    """
    since = t - search.begun + 1
    check = since % max(length // 10, 1) == 0
    stalled = check & (objective > STALLED * search.lowest) & (length >= 10)
    lowest = torch.where(check, objective, search.lowest)
    return search._replace(hit=search.hit | hit, lowest=lowest), stalled | (since >= length)


def renew(search: Search, over: Tensor, weight: Tensor, t: Tensor) -> Search:
    """Begin a new round with `weight` where the last one is over."""
    return search._replace(
        weight=torch.where(over, weight, search.weight),
        begun=torch.where(over, t + 1, search.begun),
        rounds=search.rounds + over,
        hit=search.hit & ~over,
        lowest=torch.where(over, torch.inf, search.lowest),
    )


def bisect(search: Search, over: Tensor, t: Tensor) -> Search:
    """The published rule: ten times the weight until one is enough, then the middle."""
    enough, little = over & search.hit, over & ~search.hit
    high = torch.where(enough, torch.minimum(search.high, search.weight), search.high)
    low = torch.where(little, torch.maximum(search.low, search.weight), search.low)
    larger = (search.weight * 10).clamp_max(HIGHEST)
    middle = torch.where(high.isfinite(), (low + high) / 2, larger)
    return renew(search._replace(low=low, high=high), over, middle, t)


def hinge(logits: Tensor, goal: Goal) -> Tensor:
    """The margin up to the goal, nothing beyond it: f6 of the paper, larger is nearer."""
    return margin(logits, goal).nan_to_num(0.0, 0.0, 0.0).clamp_max(0)
