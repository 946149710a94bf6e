"""Looking at every operator that torch runs, below autograd."""

from collections.abc import Sequence
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class Watch(TorchDispatchMode):
    """Tells `look` of every operator: what was called, with what, and what came of it."""

    def look(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any], found: Any) -> None:
        """To be written by who watches."""
        raise NotImplementedError

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        self.look(func, args, kwargs or {}, found)
        return found
