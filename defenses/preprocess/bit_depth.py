"""Fewer bits a pixel (Xu et al. 2018, feature squeezing, arXiv 1704.01155)."""

from torch import Tensor

from robustkit.defenses.stage import Stage
from robustkit.errors import UserError


def bit_depth(bits: int = 4) -> Stage:
    """Pixels rounded to 2^`bits` levels, 1 to 8 bits; its stand-in is the identity.

    >>> import torch
    >>> bit_depth(1).run(torch.tensor([0.2, 0.5, 0.9])).tolist()
    [0.0, 1.0, 1.0]
    """
    if not 1 <= bits <= 8:
        raise UserError("1 to 8 bits a pixel", str(bits), "write for example bits=4")
    levels: int = 2**bits - 1

    def run(x: Tensor) -> Tensor:
        # Halves go up, as no reader expects them to go to the even level.
        level: Tensor = (x.clamp(0, 1) * levels + 0.5).floor()
        return level / levels

    return Stage("bit-depth", run, lambda x: x, settings={"bits": bits})
