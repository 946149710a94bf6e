"""Threats that are no balls: pictures made of the original by a transformation within limits.

A picture does not tell how it was made, so whoever makes one says so: `made` `[B, ...]` are the
transformation's parameters, from which the referee makes the picture again. The budget `eps` `[B]`
is in a unit of each kind's own.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.errors import UserError
from robustkit.warping import flowed, moved

PUBLISHED_LIMITS = (30.0, 3.0)
"""Degrees and pixels of Engstrom et al. 2019, for pictures of 32x32."""


class Transform(NamedTuple):
    """One kind of transformation.

    - `read(budget) -> (eps, limits)`: what stands behind the colon of a threat
    - `remade(x, made, bounds) -> [B,C,H,W]`: the picture that these parameters give
    - `size(made, limits) -> [B]`: how much of a budget they take
    - `unit` is the budget's in words, `form` what is to be written, `limits` the published ones
    """

    name: str
    read: Callable[[str], tuple[float, tuple[float, ...]]]
    remade: Callable[[Tensor, Tensor, tuple[float, float]], Tensor]
    size: Callable[[Tensor, tuple[float, ...]], Tensor]
    unit: str
    form: str
    limits: tuple[float, ...] = ()


def _numbers(name: str, text: str, count: int) -> list[float]:
    """So many finite numbers, none of them negative."""
    parts = text.replace(" ", "").split(",")
    try:
        numbers = [float(Fraction(part)) for part in parts]
    except (ValueError, ZeroDivisionError):
        numbers = []
    if len(numbers) != count or min(numbers) < 0:
        form = TRANSFORMS[name].form
        raise UserError(
            f"a threat {form}, each >= 0", repr(f"{name}:{text}"), f"write for example {form}"
        )
    return numbers


# Rotation and translation: `made` is angle, right, down; eps the share of the limits used.


def _read_spatial(text: str) -> tuple[float, tuple[float, ...]]:
    degrees, pixels = _numbers("spatial", text, 2)
    return 1.0, (degrees, pixels)


def _moved(x: Tensor, made: Tensor, bounds: tuple[float, float]) -> Tensor:
    return moved(x, made, black=bounds[0])


def _share(made: Tensor, limits: tuple[float, ...]) -> Tensor:
    """The largest of angle and shifts, each as a share of its limit."""
    degrees, pixels = limits
    most = torch.tensor([degrees, pixels, pixels], device=made.device)
    # What has no room may not move at all.
    share = torch.where(made == 0, 0.0, made.abs() / most)
    return share.amax(1)


# Flow: `made` is a field of displacements; eps the largest one in pixels.


def _read_flow(text: str) -> tuple[float, tuple[float, ...]]:
    return _numbers("flow", text, 1)[0], ()


def _flowed(x: Tensor, made: Tensor, bounds: tuple[float, float]) -> Tensor:
    return flowed(x, made)


def lengths(flow: Tensor) -> Tensor:
    """How far each pixel's source lies away, `[B,H,W]` in pixels, for `flow` `[B,2,H,W]`."""
    length: Tensor = torch.linalg.vector_norm(flow, dim=1)
    return length


def _farthest(made: Tensor, limits: tuple[float, ...]) -> Tensor:
    return lengths(made).flatten(1).amax(1)


TRANSFORMS: dict[str, Transform] = {
    one.name: one
    for one in (
        Transform(
            "spatial", _read_spatial, _moved, _share, "share of the limits", "spatial:30,3",
            PUBLISHED_LIMITS,
        ),
        Transform("flow", _read_flow, _flowed, _farthest, "pixels", "flow:0.5"),
    )
}  # fmt: skip
