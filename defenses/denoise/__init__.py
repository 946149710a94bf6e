"""Denoisers: networks that stand before a classifier whose weights may not be touched."""

from collections.abc import Callable

from torch import nn

from robustkit.defenses.denoise.dncnn import dncnn
from robustkit.defenses.denoise.unet import unet
from robustkit.errors import UserError

DENOISERS: dict[str, Callable[[int], nn.Module]] = {"unet": unet, "dncnn": dncnn}
"""By name: what makes an untrained denoiser for pictures with so many channels."""


def denoiser(name: str, channels: int) -> nn.Module:
    """An untrained denoiser, which gives back what it gets; raises UserError for another name."""
    if name not in DENOISERS:
        raise UserError(f"a denoiser: {', '.join(DENOISERS)}", repr(name), "write --denoiser unet")
    return DENOISERS[name](channels)
