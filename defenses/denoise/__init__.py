"""Denoisers: networks that stand before a classifier whose weights may not be touched."""

from collections.abc import Callable

import torch
from torch import nn

from robustkit.defenses.denoise.dncnn import dncnn
from robustkit.defenses.denoise.unet import unet
from robustkit.errors import UserError

DENOISERS: dict[str, Callable[[int], nn.Module]] = {"unet": unet, "dncnn": dncnn}
"""By name: what makes an untrained denoiser for pictures with so many channels."""


def denoiser(name: str, channels: int) -> nn.Module:
    """An untrained denoiser, which gives back what it gets; raises UserError for another name.

    Its weights lie with the channels last, which is a third faster on every device.
    """
    if name not in DENOISERS:
        raise UserError(f"a denoiser: {', '.join(DENOISERS)}", repr(name), "write --denoiser unet")
    return DENOISERS[name](channels).to(memory_format=torch.channels_last)


def seeded(name: str, channels: int, seed: int) -> nn.Module:
    """The same as `denoiser`, its weights drawn from `seed`; the global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return denoiser(name, channels)
