"""Threat models: what an attacker may do; the only place that knows the feasible set."""

import re
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor

from robustkit.draws import Draws
from robustkit.errors import UserError
from robustkit.norms import NORMS, Box, Norm
from robustkit.rectangle import patch_norm
from robustkit.transforms import TRANSFORMS, Transform

# What float32 arithmetic may add to a distance between pixels: one unit in the last place of 1.
ROUNDING = 2e-7

# What float32 resampling on another device may change in a pixel.
RESAMPLED = 1e-3

THREATS = (*NORMS, "patch", *TRANSFORMS)
"""Everything that a threat may begin with."""


@dataclass(frozen=True, eq=False)
class ThreatModel:
    """A norm, a budget in units of `bounds`, the bounds of a pixel, and an optional mask.

    `eps` is a number, or `[B]` for a budget a sample. `mask` (broadcastable to `[B, C, H, W]`,
    True where pixels may change) turns it into a region.

    Under the norm `patch` a picture may change at will inside one rectangle, wherever it is put.
    `eps` is the share of the picture's area that it takes, as a square; with `sides`, height and
    width in pixels, `eps` is their product and the rectangle has their proportions.

    A threat of `transforms.py` has no norm: what may be done to a picture is transform it within
    `limits`, and `eps` is in that kind's own unit.

    >>> ThreatModel.parse("linf:8/255"), ThreatModel.parse("patch:32x16").eps
    (ThreatModel('linf:8/255'), 512.0)
    >>> ThreatModel("l2", 0.5).with_eps(0.25).text
    'l2:0.25'
    """

    norm_name: str
    eps: float | Tensor
    bounds: tuple[float, float] = (0.0, 1.0)
    mask: Tensor | None = None
    written: str = ""
    sides: tuple[int, int] | None = None
    limits: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a norm that is not known and a budget that cannot be one."""
        if self.norm_name not in THREATS:
            raise _not_a_threat(f"{self.norm_name}:{self.eps}")
        # Only a tensor has to be asked, which may wait for its device.
        lowest = self.eps if not isinstance(self.eps, Tensor) else _lowest(self.eps)
        if not lowest >= 0:
            raise UserError("a budget eps >= 0", str(self.eps), "give for example linf:8/255")
        if self.transform and not self.limits:
            object.__setattr__(self, "limits", self.transform.limits)

    @classmethod
    def parse(cls, text: str, bounds: tuple[float, float] = (0.0, 1.0)) -> "ThreatModel":
        """Read `linf:8/255`, `l2:0.5`, `l1:12`, `l0:10`, `patch:0.05`, `patch:32x32`.

        And what is no ball: `spatial:30,3` (degrees, pixels), `flow:0.5` (pixels). Raises UserError
        for anything else.
        """
        name, colon, budget = text.strip().lower().partition(":")
        if name == "patch":
            return cls._patch(text, budget.replace(" ", ""), bounds)
        if name in TRANSFORMS:
            amount, limits = TRANSFORMS[name].read(budget)
            return cls(name, amount, bounds, written=f"{name}:{budget}", limits=limits)
        try:
            eps = float(Fraction(budget.replace(" ", "")))
        except (ValueError, ZeroDivisionError):
            raise _not_a_threat(text) from None
        if not colon or name not in NORMS or eps < 0:
            raise _not_a_threat(text)
        if name == "linf" and eps > bounds[1] - bounds[0]:
            raise UserError(
                f"a budget in units of pixels that lie in [{bounds[0]:g}, {bounds[1]:g}]",
                f"{text!r}, more than from black to white",
                f"write linf:{eps:g}/255 if levels of 255 are meant",
            )
        return cls(name, eps, bounds, written=f"{name}:{budget}")

    @classmethod
    def _patch(cls, text: str, budget: str, bounds: tuple[float, float]) -> "ThreatModel":
        """A square that takes a share of the picture, or a rectangle of so many pixels."""
        match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", budget)
        if match:
            sides = int(match[1]), int(match[2])
            area = float(sides[0] * sides[1])
            return cls("patch", area, bounds, written=f"patch:{budget}", sides=sides)
        try:
            share = float(Fraction(budget))
        except (ValueError, ZeroDivisionError):
            raise _not_a_patch(text) from None
        if not 0 < share <= 1:
            raise _not_a_patch(text)
        return cls("patch", share, bounds, written=f"patch:{budget}")

    @property
    def transform(self) -> Transform | None:
        """How pictures are made under a threat that has no norm."""
        return TRANSFORMS.get(self.norm_name)

    @property
    def norm(self) -> Norm:
        """The norm's functions; raises UserError for a threat that is no ball."""
        if self.transform:
            raise UserError(
                f"an attack or defense for {self.norm_name}",
                "one that moves in the ball of a norm",
                "see robustkit list attacks, or choose a threat such as linf:8/255",
            )
        return patch_norm(self.shape) if self.norm_name == "patch" else NORMS[self.norm_name]

    @property
    def shape(self) -> tuple[int, int]:
        """A patch's height to its width."""
        return self.sides or (1, 1)

    @property
    def text(self) -> str:
        """The threat as it is written, `linf:8/255`."""
        if self.written:
            return self.written
        if self.limits and isinstance(self.eps, float):
            return f"{self.norm_name}:{','.join(f'{self.eps * one:g}' for one in self.limits)}"
        plain = isinstance(self.eps, float) and not self.sides
        return f"{self.norm_name}:{self.eps:g}" if plain else self.norm_name

    def __repr__(self) -> str:
        """The text form."""
        return f"ThreatModel({self.text!r})"

    def with_eps(self, eps: float | Tensor) -> "ThreatModel":
        """The same threat with another budget."""
        return replace(self, eps=eps, written="")

    def take(self, index: Tensor) -> "ThreatModel":
        """The threat of some of the samples, where eps or mask differ by sample."""
        eps = self.eps[index] if isinstance(self.eps, Tensor) and self.eps.dim() else self.eps
        mask = self.mask
        if mask is not None and mask.dim() == 4 and len(mask) > 1:
            mask = mask[index]
        return replace(self, eps=eps, mask=mask)

    def budget(self, x: Tensor) -> Tensor:
        """The budgets `[B]` for pictures `x`; raises UserError for a patch larger than they are."""
        eps = self.eps
        if self.sides:
            high, wide = x.shape[-2:]
            if self.sides[0] > high or self.sides[1] > wide:
                raise UserError(
                    f"a patch no larger than the pictures, {high}x{wide}",
                    self.text,
                    "write a smaller one, or a share of the area such as patch:0.05",
                )
            eps = eps / (high * wide)
        return torch.as_tensor(eps, dtype=x.dtype, device=x.device).expand(len(x))

    def box(self, x: Tensor) -> Box:
        """Lowest and highest perturbation of every pixel that stays in bounds and mask."""
        low, high = self.bounds[0] - x, self.bounds[1] - x
        if self.mask is not None:
            free = self.mask.to(x.device).expand_as(x)
            low, high = low * free, high * free
        return low, high

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The nearest point to `x_adv` that the attacker may reach from `x`, `[B,C,H,W]`."""
        delta = self.norm.project(x_adv - x, self.budget(x), self.box(x))
        return (x + delta).clamp(*self.bounds)

    def sample(self, x: Tensor, draws: Draws) -> Tensor:
        """A random point of the threat model around `x`."""
        return self.project(x + self.norm.sample(x, self.budget(x), draws), x)

    def size(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The perturbation's size in the threat's own norm, `[B]`; in l2 if it has none."""
        norm = NORMS["l2"] if self.transform else self.norm
        return norm.size(x_adv - x)

    def remade(self, x: Tensor, made: Tensor) -> Tensor:
        """The pictures that a transformation with parameters `made` `[B, ...]` gives."""
        assert self.transform, "only a threat without a norm makes pictures"
        low, high = self.box(x)
        delta = self.transform.remade(x, made, self.bounds) - x
        return (x + delta.clamp(low, high)).clamp(*self.bounds)

    def departure(self, x_adv: Tensor, x: Tensor, made: Tensor) -> Tensor:
        """By how much `made` breaks the budget or misses `x_adv`, `[B]`; 0 where it is allowed."""
        assert self.transform, "only a threat without a norm makes pictures"
        off = (x_adv - self.remade(x, made)).flatten(1).abs().amax(1) - RESAMPLED
        over = self.transform.size(made, self.limits) - self.budget(x) * (1 + 1e-5)
        return torch.maximum(off, over).clamp_min(0).nan_to_num(torch.inf)

    def violation(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """By how much a point breaks the rules, `[B]`; 0 where it is allowed.

        Allowed is what holds up to float32 rounding: eps (1 + 1e-6) + 2e-7 a pixel. Where there is
        no norm only bounds and mask are looked at: see `departure`.
        """
        delta = x_adv - x
        low, high = self.box(x)
        outside = torch.maximum(low - delta, delta - high).flatten(1).amax(1) - ROUNDING
        if self.transform:
            return outside.clamp_min(0).nan_to_num(torch.inf)
        slack = ROUNDING * (1.0 if self.norm_name == "linf" else x[0].numel() ** 0.5)
        if self.norm_name == "l1":
            slack = ROUNDING * x[0].numel()
        if self.norm_name in ("l0", "patch"):
            slack = 0.0
        over = self.norm.size(delta) - self.budget(x) * (1 + 1e-6) - slack
        return torch.maximum(over, outside).clamp_min(0).nan_to_num(torch.inf)


def _lowest(eps: Tensor) -> float:
    return float(eps.min()) if eps.numel() else 0.0


def _not_a_threat(text: str) -> UserError:
    return UserError(
        f"a threat NORM:EPS with a norm of {', '.join(THREATS)} and eps >= 0 in pixel units",
        repr(text),
        "write for example linf:8/255 or l2:0.5 (pixels lie in [0, 1])",
    )


def _not_a_patch(text: str) -> UserError:
    return UserError(
        "a patch as a share of the picture's area in (0, 1], or as HEIGHTxWIDTH in pixels",
        repr(text),
        "write for example patch:0.05 or patch:32x32",
    )
