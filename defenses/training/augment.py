"""Pictures moved and mirrored, keyed by sample and epoch, so that resuming draws the same."""

from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.draws import Draws


class Moves(NamedTuple):
    """How each of `[N]` pictures is moved, in [0, 2 most] both ways, and which are mirrored."""

    top: Tensor
    left: Tensor
    mirrored: Tensor | None

    @classmethod
    def drawn(cls, draws: Draws, most: int, *, flip: bool) -> "Moves":
        """Each by -most..most pixels both ways; with `flip`, mirrored at even odds."""
        top, left = draws.integers(2 * most + 1, (2,)).unbind(1)
        return cls(top, left, draws.at(1).signs(()) > 0 if flip else None)

    def part(self, rows: slice) -> "Moves":
        """The moves of some of the pictures."""
        mirrored = None if self.mirrored is None else self.mirrored[rows]
        return Moves(self.top[rows], self.left[rows], mirrored)


class Album:
    """Pictures in their own dtype between margins of zeros, to be taken out moved.

    A picture that is moved begins elsewhere in the memory, and that is all: one copy of a run of
    memory a picture, where padding and cropping take several.
    """

    def __init__(self, x: Tensor, most: int) -> None:
        """Keep `x` `[N,C,H,W]`, numbers in [0, 1] or bytes, to be moved by up to `most` pixels."""
        count, channels, height, width = x.shape
        self.most, self.shape = most, (channels, height + 2 * most, width + 2 * most)
        self.length = channels * self.shape[1] * self.shape[2]
        # The last picture's window ends behind its own margin.
        beyond = 2 * most * (self.shape[2] + 1)
        memory = x.new_zeros(count * self.length + beyond)
        inside = memory[: count * self.length].view(count, *self.shape)
        inside[..., most : most + height, most : most + width] = x
        self.windows = memory.as_strided((count * self.length + 1 - self.length + beyond,
                                          self.length), (1, 1))  # fmt: skip

    def taken(self, index: Tensor, moves: Moves | None = None) -> Tensor:
        """The pictures `index` `[B]` as float32 in [0, 1], `[B,C,H,W]`; without `moves` as is."""
        stride = self.shape[2]
        middle = self.most * (stride + 1)
        offset = middle if moves is None else moves.top * stride + moves.left
        runs = self.windows.index_select(0, index * self.length + offset)
        height, width = (side - 2 * self.most for side in self.shape[1:])
        x = runs.view(-1, *self.shape)[..., :height, :width]
        x = x / 255 if x.dtype == torch.uint8 else x.contiguous()
        if moves is None or moves.mirrored is None:
            return x
        return torch.where(moves.mirrored.view(-1, 1, 1, 1), x.flip(3), x)
