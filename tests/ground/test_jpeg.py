"""JPEG against a file that somebody else's library wrote and read.

Theirs computes in whole numbers, so that a coefficient on the edge may fall the other way.
"""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from robustkit.distortions.jpeg import jpeg
from robustkit.errors import UserError

LEVEL = 1 / 255


def picture(channels: int, height: int, width: int) -> Tensor:
    """Smooth shapes with some noise, in whole levels, `[1,C,H,W]`."""
    generator = torch.Generator().manual_seed(channels)
    rows, columns = torch.arange(height)[:, None] / 9, torch.arange(width)[None] / 7
    waves = [(rows * (k + 1)).sin() * (columns + k).cos() for k in range(channels)]
    noisy = (
        torch.stack(waves) / 3
        + 0.5
        + torch.randn(channels, height, width, generator=generator) / 20
    )
    return (noisy.clamp(0, 1) * 255).round()[None] / 255


def through_a_file(x: Tensor, quality: int, subsampling: int) -> Tensor:
    array = (x[0] * 255).round().byte().permute(1, 2, 0).numpy().squeeze()
    buffer = BytesIO()
    more = {"subsampling": subsampling} if array.ndim == 3 else {}
    Image.fromarray(array).save(buffer, "JPEG", quality=quality, **more)
    back = np.asarray(Image.open(buffer), dtype=np.float32)
    back = back[..., None] if back.ndim == 2 else back
    return torch.from_numpy(back.copy()).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize("quality", [7, 40, 75, 95])
@pytest.mark.parametrize(("channels", "size"), [(1, (24, 32)), (3, (24, 32)), (3, (29, 19))])
def test_it_gives_what_a_file_gives(quality: int, channels: int, size: tuple[int, int]) -> None:
    x = picture(channels, *size)
    for subsampling in (0, 2) if channels == 3 else (0,):
        theirs = through_a_file(x, quality, subsampling)
        ours = jpeg(x, quality, subsampled=subsampling == 2)
        off = (ours - theirs).abs()
        assert off.mean() < 2 * LEVEL
        assert off.mean() < 0.35 * (theirs - x).abs().mean()


def test_lower_quality_costs_more_and_all_is_in_whole_levels() -> None:
    x = picture(3, 16, 16)
    costs = [float((jpeg(x, quality) - x).abs().mean()) for quality in (90, 50, 10)]
    assert costs == sorted(costs)
    levels = jpeg(x, 30) * 255
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert jpeg(x, 30).min() >= 0
    assert jpeg(x, 30).max() <= 1


def test_each_picture_is_compressed_alone() -> None:
    x = torch.cat((picture(3, 16, 16), 1 - picture(3, 16, 16)))
    assert torch.equal(jpeg(x, 20)[1:], jpeg(x[1:], 20))


def test_gradients_pass_straight_through_if_wanted() -> None:
    x = (0.2 + 0.6 * picture(3, 16, 16)).requires_grad_()
    weight = torch.rand(1, 3, 16, 16)
    (dead,) = torch.autograd.grad((jpeg(x, 50) * weight).sum(), x)
    assert dead.abs().max() == 0
    same = jpeg(x, 50, straight_through=True, subsampled=False)
    assert torch.equal(same, jpeg(x, 50, subsampled=False))
    # All steps between the roundings are linear and undo one another.
    (alive,) = torch.autograd.grad((same * weight).sum(), x)
    assert torch.allclose(alive, weight, atol=1e-3)


@pytest.mark.parametrize("quality", [0, 101])
def test_there_is_no_such_quality(quality: int) -> None:
    with pytest.raises(UserError, match="from 1 to 100"):
        jpeg(torch.rand(1, 1, 8, 8), quality)
