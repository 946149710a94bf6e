"""What stands around a model in a defended pipeline: one frozen record a stage.

A stage says of itself what an attacker has to know: whether its gradient is worth following, which
differentiable function stands in for it otherwise, and whether it draws random numbers. The audit
derives its attacks from that; a stage cannot opt out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

Transform = Callable[[Tensor], Tensor]
"""Pixels `[B,C,H,W]` in [0, 1] to pixels of the same range; an `nn.Module` if it has weights."""


@dataclass(frozen=True)
class Stage:
    """A step before the model, from pixels to pixels.

    `surrogate` is a differentiable function close to `run`, whose gradient stands in for that of
    `run` (BPDA, Athalye et al. 2018, arXiv 1802.00420); None says that `run` itself is
    differentiable. `random` says that `run` draws from torch's global generator. `settings` are
    printed in reports.
    """

    name: str
    run: Transform
    surrogate: Transform | None = None
    random: bool = False
    settings: Mapping[str, object] = field(default_factory=dict)
