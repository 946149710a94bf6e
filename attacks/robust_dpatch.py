"""One patch for every picture that a detector is shown, wherever on it its objects are.

Lee & Kolter 2019 (arXiv 1906.11897): a patch that overlaps no object and is optimised by gradients
under changes of the whole scene (crop, rotation, brightness), so that it survives them.
Deviations: the objective is a gap over all candidates for a box (`robustkit.attacks.sight`), not
the training loss; Adam on pixels that are clipped to [0, 1]; rotations of any angle. It is
`train_patch` on a detector that is shaken.
"""

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustkit.attacks.patch import (
    Patch,
    Recipe,
    Stack,
    Views,
    check_fits,
    outline,
    train_patch,
)  # fmt: skip
from robustkit.model import Classifier


@dataclass(frozen=True)
class Shake:
    """How the whole scene changes from one look to the next.

    Rotations up to `rotation` degrees, up to a share `crop` of each side cut off and the rest
    enlarged, brightness up to `brightness` off.
    """

    rotation: float = 5.0
    crop: float = 0.1
    brightness: float = 0.1

    def apply(self, x: Tensor) -> Tensor:
        """Pictures `[B,C,H,W]`, each changed by draws of its own from torch's generator."""
        drawn = (2 * torch.rand(5, len(x)) - 1).to(x.device)
        angle = drawn[0] * (self.rotation * pi / 180)
        kept = 1 - self.crop * drawn[1].abs()
        cos, sin = kept * angle.cos(), kept * angle.sin()
        high, wide = x.shape[2:]
        rows = (
            (cos, -sin * high / wide, (1 - kept) * drawn[2]),
            (sin * wide / high, cos, (1 - kept) * drawn[3]),
        )
        theta = torch.stack([torch.stack(row, 1) for row in rows], 1).to(x.dtype)
        grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
        turned = functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
        return (turned * (1 + self.brightness * drawn[4])[:, None, None, None]).clamp(0, 1)


class Shaken(nn.Module):
    """A network that sees each picture shaken; `Classifier.frozen` seeds what is drawn."""

    def __init__(self, inner: nn.Module, shake: Shake) -> None:
        super().__init__()
        self.inner, self.shake = inner, shake

    def forward(self, x: Tensor) -> Tensor:
        """What the network says of the pictures, shaken."""
        logits: Tensor = self.inner(self.shake.apply(x))
        return logits


def corner(x: Tensor | Stack, size: tuple[int, int], share: float = 0.0) -> tuple[int, int]:
    """Top and left of a patch of `size` at a share of the room there is on pictures `x`.

    >>> corner(torch.zeros(1, 3, 8, 10), (4, 4), 0.5)
    (2, 3)
    """
    return int(share * (x.shape[2] - size[0])), int(share * (x.shape[3] - size[1]))


def upright_at(x: Tensor | Stack, size: tuple[int, int], share: float = 0.0) -> Views:
    """The view of a patch that lies upright there."""
    top, left = corner(x, size, share)
    middle = (top + size[0] / 2) / x.shape[2], (left + size[1] / 2) / x.shape[3]
    return Views(0.0, (1.0, 1.0), 0.0, 0.0, middle)


def robust_dpatch(
    model: Classifier,
    x: Tensor | Stack,
    *,
    recipe: Recipe | None = None,
    views: Views | None = None,
    shake: Shake | None = None,
    seed: int = 0,
) -> Patch:
    """Train one patch on pictures `x` `[N,C,H,W]` in [0, 1] for the objective of `sight`.

    `model` is what `robustkit.attacks.sight.sight` gives. The patch lies in the top left corner, or
    as `views` draw it. The detector is left as it was. Raises UserError for a patch larger than the
    pictures.
    """
    recipe = recipe or Recipe()
    check_fits(Patch(torch.zeros(x.shape[1], *recipe.size), outline(recipe)), x)
    shaken = Classifier(
        Shaken(model.module, shake or Shake()), name=model.name, device=model.device
    )
    y = torch.zeros(x.shape[0], dtype=torch.int64)
    views = views or upright_at(x, recipe.size)
    return train_patch(shaken, x, y, recipe=recipe, views=views, seed=seed)
