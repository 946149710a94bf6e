"""A differentiable stand-in for rounding: backward pass differentiable approximation (BPDA).

Athalye et al. 2018 (1802.00420): where a stage has no useful gradient, its forward is kept and its
backward replaced. Here by the identity, for every function of torch that rounds, wherever in the
model it is called.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from robustkit.attacks.attack import Problem, State
from robustkit.attacks.parts.gradient import Look, Source

ROUNDING = {
    getattr(owner, name)
    for owner in (torch, Tensor)
    for name in ("round", "floor", "ceil", "trunc", "fix", "sign")
}


class Identity(TorchFunctionMode):
    """Within it, rounding has the gradient of the identity; values stay what they are.

    >>> x = torch.tensor([0.3, 1.8], requires_grad=True)
    >>> with Identity():
    ...     rounded = (2 * x).round()
    >>> rounded.tolist(), torch.autograd.grad(rounded.sum(), x)[0].tolist()
    ([1.0, 4.0], [2.0, 2.0])
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call `func`; give a rounding one the gradient of its argument."""
        out = func(*args, **(kwargs or {}))
        if func in ROUNDING and args[0].requires_grad:
            return args[0] + (out - args[0]).detach()
        return out


def through(source: Source) -> Source:
    """The same source with rounding stood in for by the identity."""

    def look(problem: Problem, state: State) -> Look:
        """One look, through the stand-in."""
        with Identity():
            return source(problem, state)

    return look
