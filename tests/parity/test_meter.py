"""The meter of scripts/optimality.py: honest books, whoever asks, and nothing after the limit."""

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from robustkit.attacks import build
from robustkit.attacks.attack import pose, unrolled
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

METERED = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "metered.py"))
Y = torch.tensor([1, 1, 0])
X = torch.tensor([0.7, 0.9, 0.1])[:, None, None, None].expand(3, 1, 2, 2).contiguous()


def linear() -> Classifier:
    """Class 1 where the pixels' mean is above a half."""
    layer = nn.Linear(4, 2)
    layer.weight.data = torch.tensor([[-0.25] * 4, [0.25] * 4])
    layer.bias.data = torch.tensor([0.5, -0.5])
    return Classifier(nn.Sequential(nn.Flatten(), layer).requires_grad_(False))


def meter(limit: int = 1000, norm: str = "linf") -> Any:
    return METERED["Meter"](linear(), X, y=Y, norm=norm, limit=limit)


def test_it_counts_what_the_classifier_counts() -> None:
    books = meter()
    model = Classifier(books)
    threat = ThreatModel.parse("linf:1")
    with torch.no_grad():
        unrolled(build("fmn:steps=7"), pose(model, X, Goal(Y), threat, index=torch.arange(3)))
    assert books.forwards.tolist() == [8, 8, 8]
    assert books.backwards.tolist() == [7, 7, 7]
    assert int(books.forwards.sum()) == model.forwards == books.forwards.sum()
    assert int(books.backwards.sum()) == model.backwards
    assert books.nearest == pytest.approx(torch.tensor([0.2, 0.4, 0.4]), rel=0.02)


def test_the_nearest_error_of_all_that_was_asked_stays() -> None:
    books = meter()
    for move in (-0.5, -0.3, -0.1, -0.6):
        books(X + torch.tensor([move, move, -move])[:, None, None, None])
    assert books.nearest.tolist() == pytest.approx([0.3, 0.5, 0.5])


def test_a_part_in_another_order_is_recognised() -> None:
    books = meter()
    books(torch.stack([X[2] + 0.05, X[0] - 0.25]))
    assert books.forwards.tolist() == [1, 0, 1]
    assert books.nearest.isfinite().tolist() == [True, False, False]
    books.about(torch.tensor([1]))
    books(X[:1] - 0.25)
    assert books.forwards.tolist() == [1, 1, 1]
    assert books.nearest[1] == pytest.approx(0.45)


def test_after_the_limit_there_is_nothing_to_learn() -> None:
    books = meter(limit=3)
    books.about(torch.tensor([0]))
    for _ in range(3):
        books(X[:1])
    books.about(None)
    x = (X * 0 + torch.tensor([0.25, 0.45, 0.3])[:, None, None, None]).requires_grad_()
    logits = books(x)
    gradient = torch.autograd.grad(logits.sum(0)[0], x)[0]
    assert logits[0].tolist() == [1.0, 0.0]
    assert gradient.flatten(1).abs().amax(1).gt(0).tolist() == [False, True, True]
    assert books.forwards.tolist() == [3, 1, 1]
    assert books.nearest.isfinite().tolist() == [False, True, False]
    books.about(torch.tensor([0]))
    with pytest.raises(METERED["SpentError"]):
        books(X[:1])


def test_pixels_beyond_the_bounds_and_nan_find_nothing() -> None:
    books = meter()
    books(X - 5)
    assert books.nearest.tolist()[:2] == pytest.approx([0.7, 0.9])
    books = meter()
    books(X * torch.nan)
    assert not books.nearest.isfinite().any()


def test_optimality_is_a_share_of_the_area() -> None:
    optimality = METERED["optimality"]
    best = torch.tensor([0.0, 1.0, 2.0, 4.0])
    assert optimality(best, best) == 1
    assert optimality(torch.tensor([0.0, torch.inf, torch.inf, torch.inf]), best) == 0
    # Twice as far as the best, cut at 4: areas 2+4+4 against 1+2+4, of 12 at most.
    assert optimality(torch.tensor([0.0, 2.0, 4.0, 8.0]), best) == pytest.approx(1 - 3 / 5)


def test_pixels_on_the_bounds_have_their_gradient() -> None:
    x = torch.tensor([[0.0, 1.0, 0.5, 1.2]]).reshape(1, 1, 2, 2).expand(3, 1, 2, 2)
    x = x.clone().requires_grad_()
    assert torch.autograd.grad(meter()(x)[:, 1].sum(), x)[0].eq(0.25).all()
