"""Randomness keyed by (seed, sample index, purpose, step).

A draw is a hash of its key and a counter, not the next number of a stream, so a sample gets the
same draws in whatever batch, order or device it is computed, and nothing touches a global state.
The hash is the 64-bit finaliser of MurmurHash3 (Appleby 2011), twice.
"""

from collections.abc import Sequence
from math import pi, prod
from typing import NamedTuple

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 2^64 / golden ratio, as a signed number
_FIRST = -49064778989728563
_SECOND = -4265267296055464877


def _mix(x: Tensor) -> Tensor:
    """Scramble int64 words; `>>` is arithmetic in torch, so the sign's copies are masked off."""
    for factor in (_FIRST, _SECOND):
        x = (x ^ ((x >> 33) & 0x7FFFFFFF)) * factor
    return x ^ ((x >> 33) & 0x7FFFFFFF)


def _wrap(word: int | Tensor) -> int | Tensor:
    """A number as torch's int64 would hold it; tensors wrap by themselves."""
    return (word + 2**63) % 2**64 - 2**63 if isinstance(word, int) else word


class Draws(NamedTuple):
    """One key a sample. Every method returns the same numbers every time it is called.

    >>> draws = Draws.keyed(0, torch.tensor([7, 8]))
    >>> torch.equal(draws.uniform((3,))[1:], Draws.keyed(0, torch.tensor([8])).uniform((3,)))
    True
    """

    key: Tensor

    @classmethod
    def keyed(cls, seed: int, index: Tensor) -> "Draws":
        """Draws for the samples with these indices, `[B]` int64."""
        return cls(_mix(index * _GOLDEN + seed)).at(seed)

    def at(self, *words: int | Tensor) -> "Draws":
        """Draws for a purpose, a restart, a step: every word, a number or `[B]`, splits the key."""
        key = self.key
        for word in words:
            key = _mix(key * 31 + _wrap((word + 1) * _GOLDEN))
        return Draws(key)

    def take(self, index: Tensor) -> "Draws":
        """The draws of some of the samples."""
        return Draws(self.key[index])

    def bits(self, shape: Sequence[int]) -> Tensor:
        """Random words `[B, *shape]`, int64 in [0, 2^31)."""
        counter = torch.arange(prod(shape), device=self.key.device) * _GOLDEN
        words = _mix(self.key[:, None] ^ _mix(counter)[None])
        return ((words >> 32) & 0x7FFFFFFF).reshape(-1, *shape)

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Uniform float32 in [0, 1), `[B, *shape]`."""
        return (self.bits(shape) >> 7).float() / 2**24

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal float32, `[B, *shape]` (Box-Muller)."""
        radius = (-2 * (1 - self.at(1).uniform(shape)).log()).sqrt()
        return radius * (2 * pi * self.at(2).uniform(shape)).cos()

    def signs(self, shape: Sequence[int]) -> Tensor:
        """Minus one or one as float32, `[B, *shape]`."""
        return (self.bits(shape) >> 30).float() * 2 - 1

    def integers(self, high: int | Tensor, shape: Sequence[int] = ()) -> Tensor:
        """Integers in [0, high), int64 `[B, *shape]`; `high` is a number or broadcasts."""
        return ((self.bits(shape) >> 7) * high) >> 24
