"""What happens to pixels before the user's module sees them: resize, crop, normalise.

It lives inside `Classifier`, so attacks never see a mean or a standard deviation and `eps` is
always in pixels. Every report prints it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robustkit.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

NAMED = {
    "none": ((), ()),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "mnist": ((0.1307,), (0.3081,)),
    "half": ((0.5,), (0.5,)),
}


@dataclass(frozen=True)
class Preprocess:
    """Resize to `size` (H, W), then `(x - mean) / std` per channel; empty means left as it is.

    >>> Preprocess.parse("mean=0.5;std=0.25").describe()
    {'name': 'custom', 'mean': [0.5], 'std': [0.25]}
    >>> Preprocess.parse("none").describe()
    {'name': 'none'}
    """

    name: str = "none"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be a normalisation."""
        if len(self.mean) != len(self.std) or any(s <= 0 for s in self.std):
            raise UserError(
                "as many means as standard deviations, each deviation positive",
                f"mean {list(self.mean)}, std {list(self.std)}",
                'write for example --preprocess "mean=0.49,0.48,0.45;std=0.25,0.24,0.26"',
            )

    @classmethod
    def parse(cls, text: str) -> "Preprocess":
        """Read `none`, a known name (`cifar10`, `imagenet`, ...) or `mean=..;std=..[;size=HxW]`."""
        if text in NAMED:
            mean, std = NAMED[text]
            return cls(text, mean, std)
        try:
            parts = dict(part.split("=", 1) for part in text.split(";") if part)
            mean = tuple(float(v) for v in parts.pop("mean", "").split(",") if v)
            std = tuple(float(v) for v in parts.pop("std", "").split(",") if v)
            height, _, width = parts.pop("size", "").partition("x")
            size = (int(height), int(width or height)) if height else None
            if parts or not (mean or size):
                raise ValueError(text)
        except ValueError:
            raise UserError(
                f"a preprocessing: one of {', '.join(NAMED)}, or mean=..;std=..[;size=HxW]",
                repr(text),
                'write for example --preprocess "mean=0.49,0.48,0.45;std=0.25,0.24,0.26"',
            ) from None
        return cls("custom", mean, std, size)

    def describe(self) -> dict[str, Any]:
        """The record that reports print."""
        record: dict[str, Any] = {"name": self.name}
        if self.mean:
            record |= {"mean": list(self.mean), "std": list(self.std)}
        if self.size:
            record["size"] = list(self.size)
        return record

    def apply(self, x: "Tensor") -> "Tensor":
        """Pixels `[B,C,H,W]` to the module's own input; differentiable.

        Raises UserError if the number of channels is not that of `mean`.
        """
        if self.size and tuple(x.shape[-2:]) != self.size:
            from torch.nn import functional

            x = functional.interpolate(
                x, self.size, mode="bilinear", antialias=True, align_corners=False
            )
        if not self.mean:
            return x
        if len(self.mean) not in (1, x.shape[1]):
            raise UserError(
                f"pictures with {len(self.mean)} channels, as preprocess {self.name} has means",
                f"{x.shape[1]} channels",
                "give the preprocessing of this model, or pictures of its kind",
            )
        mean = x.new_tensor(self.mean).view(1, -1, 1, 1)
        std = x.new_tensor(self.std).view(1, -1, 1, 1)
        return (x - mean) / std
