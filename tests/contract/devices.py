"""Telling tensors of two devices apart, on a machine that has one.

Torch's `meta` device has shapes and no numbers: what is computed there meets no other device, and
what asks for a number fails. It stands for an accelerator, one without float64 at that.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from tests.contract.operators import Watch

ELSEWHERE = torch.device("meta")
# Copies between devices are what they are for.
MOVING = {"_to_copy", "copy_"}


class OneDevice(Watch):
    """No operator inside takes tensors of two devices, or gives float64 elsewhere.

    Single numbers of the host may be mixed in. Torch itself lets an index lie on the host, and
    waits for it to be copied.
    """

    def look(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any], found: Any) -> None:
        """Compare the devices of what was given, and the kind of number that came of it."""
        given = tree_leaves((args, kwargs))
        met = {part.device.type for part in given if isinstance(part, Tensor) and part.dim()}
        if len(met) > 1 and func.overloadpacket.__name__ not in MOVING:
            raise RuntimeError(f"{func} was given tensors of {' and '.join(sorted(met))}")
        for part in tree_leaves(found):
            if isinstance(part, Tensor) and part.device == ELSEWHERE:
                assert part.dtype != torch.float64, f"{func} gave float64"
