"""Float64 where there is any."""

from torch import Tensor

SINGLE = {"mps"}
"""The kinds of devices that know no float64."""


def exact(x: Tensor) -> Tensor:
    """`x` in float64, or in float32 on a device that knows nothing else."""
    return x.float() if x.device.type in SINGLE else x.double()
