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

from robustkit.distortions.corruptions import KINDS, SEVERITIES, corrupt
from robustkit.distortions.warping import flowed, moved
from robustkit.draws import Draws
from robustkit.errors import UserError

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


# Corruption: `made` is the number of the kind, the severity and the key of its draws, int64; eps is
# the severity.


def _read_corruption(text: str) -> tuple[float, tuple[float, ...]]:
    (severity,) = _numbers("corruption", text, 1)
    if severity not in range(1, SEVERITIES + 1):
        raise UserError(
            "a severity of corruption from 1 to 5", repr(text), "write for example corruption:3"
        )
    return severity, ()


def _corrupted(x: Tensor, made: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Kind by kind; not for use inside a step, as it asks which kinds there are."""
    out, kinds = x.clone(), tuple(KINDS)
    for number, severity in made[:, :2].unique(dim=0).tolist():
        rows = ((made[:, 0] == number) & (made[:, 1] == severity)).nonzero().squeeze(1)
        draws = Draws(made[rows, 2])
        out[rows] = corrupt(x[rows], kinds[number], severity, draws, bounds=bounds)
    return out


def _severity(made: Tensor, limits: tuple[float, ...]) -> Tensor:
    return made[:, 1].float()


TRANSFORMS: dict[str, Transform] = {
    one.name: one
    for one in (
        Transform(
            "spatial", _read_spatial, _moved, _share, "share of the limits", "spatial:30,3",
            PUBLISHED_LIMITS,
        ),
        Transform("flow", _read_flow, _flowed, _farthest, "pixels", "flow:0.5"),
        Transform(
            "corruption", _read_corruption, _corrupted, _severity, "severity", "corruption:3"
        ),
    )
}  # fmt: skip
