"""A small U-Net: what is coarse repairs what is fine, at two halvings of the resolution."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class UNet(nn.Module):
    """Encoder and decoder with skips (Ronneberger et al. 2015, 1505.04597), as a correction.

    After the denoiser of Liao et al. 2018 (1712.02976), two levels deep. Without batch norm, so
    that it answers the same alone and in a batch. The last convolution begins at zero: training
    starts from the identity.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.fine = _pair(channels, width)
        self.middle = _pair(width, 2 * width)
        self.coarse = _pair(2 * width, 4 * width)
        self.up_middle = _pair(6 * width, 2 * width)
        self.up_fine = _pair(3 * width, width)
        self.last = nn.Conv2d(width, channels, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Pictures `[B,C,H,W]` to pictures; values may leave [0, 1] a little."""
        height, width = x.shape[2:]
        whole = functional.pad(x, (0, -width % 4, 0, -height % 4), mode="replicate")
        fine = self.fine(whole)
        middle = self.middle(functional.avg_pool2d(fine, 2))
        coarse = self.coarse(functional.avg_pool2d(middle, 2))
        middle = self.up_middle(torch.cat((middle, _doubled(coarse)), 1))
        fine = self.up_fine(torch.cat((fine, _doubled(middle)), 1))
        correction: Tensor = self.last(fine)
        return x + correction[:, :, :height, :width]


def unet(channels: int = 3, *, width: int = 8) -> UNet:
    """An untrained U-Net of `width` channels at full resolution.

    >>> unet(1, width=4)(torch.ones(1, 1, 7, 5)).sum().item()
    35.0
    """
    return UNet(channels, width)


def _pair(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1), nn.ReLU(),
    )  # fmt: skip


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")
