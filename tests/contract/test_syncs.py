"""The counter of host syncs sees each of them, and nothing else."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.contract.syncs import counted_syncs

X = torch.tensor([[0.0, 1.0], [2.0, 3.0]])


def assign_by_mask(x: Tensor) -> None:
    y = x.clone()
    y[y > 1] = y[y > 1] * 2


WAITS: dict[str, Callable[[Tensor], object]] = {
    "item": lambda x: x.sum().item(),
    "bool": lambda x: bool(x.any()),
    "float": lambda x: float(x.max()),
    "if": lambda x: 1 if x.any() else 0,
    "cpu": lambda x: x.cpu(),
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.numpy(),
    "nonzero": lambda x: x.nonzero(),
    "where": lambda x: torch.where(x > 1),
    "mask": lambda x: x[x > 1],
    "rows": lambda x: x[(x > 1).any(1)],
    "masked_select": lambda x: x.masked_select(x > 1),
    "assignment": assign_by_mask,
    "equal": lambda x: torch.equal(x, x),
    "allclose": lambda x: torch.allclose(x, x),
    "unique": lambda x: x.unique(),
    "repeat": lambda x: x.repeat_interleave(torch.tensor([1, 2]), 0),
}

DOES_NOT: dict[str, Callable[[Tensor], object]] = {
    "where": lambda x: torch.where(x > 1, x, 0),
    "fill": lambda x: x.masked_fill(x > 1, 0),
    "rows": lambda x: x[torch.arange(2).flip(0)],
    "gather": lambda x: x.gather(1, x.argmax(1, keepdim=True)),
    "sort": lambda x: x.sort(1, descending=True).values.cumsum(1),
    "len": lambda x: (len(x), x.shape, x.dim(), x.dtype),
    "unbind": list,
    "repeat": lambda x: x.repeat_interleave(2, 0),
}


@pytest.mark.parametrize("name", WAITS)
def test_what_waits_is_seen(name: str) -> None:
    with counted_syncs() as seen:
        WAITS[name](X)
    assert seen


@pytest.mark.parametrize("name", DOES_NOT)
def test_what_does_not_wait_is_not(name: str) -> None:
    with counted_syncs() as seen:
        DOES_NOT[name](X)
    assert not seen


def test_a_sync_in_a_backward_pass_is_seen() -> None:
    class Waits(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: object, gradient: Tensor) -> Tensor:
            return gradient * gradient.max().item()

    x = X.clone().requires_grad_()
    y = Waits.apply(x).sum()
    with counted_syncs() as seen:
        torch.autograd.grad(y, x)
    assert seen
