"""JPEG as a defense (Dziugaite et al. 2016, arXiv 1608.00853)."""

from torch import Tensor

from robustkit.defenses.stage import Stage
from robustkit.distortions.jpeg import jpeg


def jpeg_compression(quality: int = 75, *, subsampled: bool = True) -> Stage:
    """Pictures as a JPEG file of `quality` 1 to 100 would give them back.

    Its stand-in is JPEG whose roundings have the gradient of the identity. Raises UserError, when
    run, for another quality.
    """

    def run(x: Tensor) -> Tensor:
        return jpeg(x, quality, subsampled=subsampled)

    def smooth(x: Tensor) -> Tensor:
        return jpeg(x, quality, subsampled=subsampled, straight_through=True)

    return Stage("jpeg", run, smooth, settings={"quality": quality, "subsampled": subsampled})
