"""Counting what makes a host wait for its device, on a machine that has none.

Two observers: operators below autograd that return a number to the host or an output whose shape
depends on data, and Python functions that copy to the host.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from tests.contract.operators import Watch

# Operators whose result's shape, or whose answer, has to be known to the host.
WAITING = {
    "_local_scalar_dense", "item", "is_nonzero", "nonzero", "nonzero_numpy", "argwhere",
    "masked_select", "equal", "_unique2", "unique_dim", "unique_consecutive", "bincount",
}  # fmt: skip
MASKABLE = {"index", "index_put", "index_put_", "_index_put_impl_"}
COPYING = {"cpu", "numpy", "tolist", "__array__", "allclose"}


class _Operators(Watch):
    def __init__(self, seen: Counter[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own lacks a type
        self.seen = seen

    def look(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any], found: Any) -> None:
        name = func.overloadpacket.__name__
        if name in WAITING:
            self.seen[name] += 1
        if name in MASKABLE and any(_is_mask(part) for part in args[1] or ()):
            self.seen[f"{name} by a mask"] += 1
        if name == "repeat_interleave" and func._overloadname == "Tensor":
            self.seen["repeat_interleave by a tensor"] += 1


class _Copies(TorchFunctionMode):
    def __init__(self, seen: Counter[str]) -> None:
        super().__init__()
        self.seen = seen

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in COPYING:
            self.seen[f".{name}()"] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def counted_syncs() -> Iterator[Counter[str]]:
    """What was done inside that would have waited for a device, by name."""
    seen: Counter[str] = Counter()
    with _Operators(seen), _Copies(seen):
        yield seen


def _is_mask(part: Any) -> bool:
    return isinstance(part, Tensor) and part.dtype in (torch.bool, torch.uint8)
