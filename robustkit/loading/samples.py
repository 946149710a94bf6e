"""Pictures with labels and stable names: what an audit is made on."""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robustkit.errors import RefusedError
from robustkit.records import DataRecord

PICTURES = "pictures as uint8 in 0..255, or as floats in [0, 1]"


@dataclass(frozen=True)
class Samples:
    """Pictures `x` `[N,C,H,W]` (uint8, or float32 in [0, 1], on the CPU) and labels `y` `[N]`.

    `ids` name the samples, so that two audits can be compared sample by sample. `sha256` is the
    digest of pixels, labels and ids: the same pictures have the same one whatever file held them.
    Make one with `Samples.of`, which checks everything.

    >>> samples = Samples.of(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([3, 1]))
    >>> len(samples), samples.ids, tuple(samples.pixels([1]).shape)
    (2, ('0', '1'), (1, 1, 4, 4))
    """

    x: Tensor
    y: Tensor
    ids: tuple[str, ...]
    classes: tuple[str, ...] = ()
    name: str = "samples"
    sha256: str = ""

    @classmethod
    def of(
        cls,
        x: Tensor,
        y: Tensor,
        *,
        ids: Sequence[str] = (),
        classes: Sequence[str] = (),
        name: str = "samples",
    ) -> "Samples":
        """Check pictures and labels and give them a digest; `ids` default to the positions.

        Raises RefusedError where they cannot be audited: wrong rank or type, floats outside [0, 1],
        NaN, negative labels, lengths that differ, the same id twice, nothing at all.
        """
        ids = tuple(ids) or tuple(str(position) for position in range(len(x)))
        x, y = _checked_pictures(x.detach().cpu()), _checked_labels(y.detach().cpu())
        if not len(x) == len(y) == len(ids):
            raise RefusedError(
                "one label (and one id) for each picture",
                f"{len(x)} pictures, {len(y)} labels, {len(ids)} ids in {name}",
                "make x and y of the same length",
            )
        if len(set(ids)) < len(ids):
            twice = Counter(ids).most_common(1)[0][0]
            raise RefusedError(
                "ids that are unique", f"{twice!r} more than once in {name}", "rename one of them"
            )
        return cls(x, y, ids, tuple(classes), name, _digest(x, y, ids))

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.y)

    def pixels(self, index: Tensor | slice | list[int]) -> Tensor:
        """The pictures at `index` as float32 `[B,C,H,W]` in [0, 1]."""
        x = self.x[index]
        return x.to(torch.float32).div_(255) if x.dtype == torch.uint8 else x

    def take(self, n: int | None) -> "Samples":
        """The first `n` samples; all of them where there are fewer, or where `n` is None."""
        if n is None or n >= len(self):
            return self
        x, y, ids = self.x[:n], self.y[:n], self.ids[:n]
        return Samples(x, y, ids, self.classes, self.name, _digest(x, y, ids))

    def record(self) -> DataRecord:
        """What a report says about these samples."""
        return DataRecord(
            name=self.name,
            sha256=self.sha256,
            samples=len(self),
            shape=tuple(self.x.shape[1:]),
        )


def _checked_pictures(x: Tensor) -> Tensor:
    if x.ndim != 4 or 0 in x.shape:
        raise RefusedError(
            "pictures of shape [N,C,H,W], at least one",
            f"shape {list(x.shape)}",
            "stack the pictures along a first dimension, channels second",
        )
    if x.dtype == torch.uint8:
        return x.contiguous()
    if not x.is_floating_point():
        raise RefusedError(PICTURES, f"{_name_of(x.dtype)}", "save x as uint8")
    x = x.to(torch.float32).contiguous()
    low, high = (float(bound) for bound in x.aminmax())
    if math.isnan(low) or math.isnan(high):
        count = int(x.isnan().flatten(1).any(1).sum())
        raise RefusedError(PICTURES, f"NaN in {count} of {len(x)} pictures", "mend or drop them")
    if low < 0 or high > 1:
        fix = "undo the normalisation: it belongs into --preprocess"
        if low >= 0 and high <= 255:
            fix = "divide by 255, or save x as uint8"
        raise RefusedError(PICTURES, f"floats from {low:.4g} to {high:.4g}", fix)
    return x


def _checked_labels(y: Tensor) -> Tensor:
    if y.ndim != 1 or y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise RefusedError(
            "integer class labels of shape [N]",
            f"{_name_of(y.dtype)} of shape {list(y.shape)}",
            "give class numbers, not one-hot rows or probabilities",
        )
    y = y.to(torch.int64)
    if len(y) and int(y.min()) < 0:
        raise RefusedError(
            "labels from 0 on",
            f"{int(y.min())} as label of sample {int(y.argmin())}",
            "number the classes from 0; drop samples without a label",
        )
    return y


def _digest(x: Tensor, y: Tensor, ids: Sequence[str]) -> str:
    """A sha256 over everything that decides a result: pixels, labels, ids and their shapes."""
    digest = hashlib.sha256(f"{_name_of(x.dtype)} {list(x.shape)}".encode())
    digest.update(x.contiguous().numpy().data)
    digest.update(y.contiguous().numpy().data)
    digest.update("\0".join(ids).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
