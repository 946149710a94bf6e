"""Rotations and translations beside foolbox's: they have no budget, so that no adapter runs them.

Its shifts are shares of the picture's width but go from the middle of one corner pixel to that of
the next, so that they come out a little short; and a whole batch gets the same random moves, from
NumPy's global generator. What is drawn is compared in the mean of several seeds.
"""

import importlib
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from robustkit.attacks.peers import to_foolbox
from robustkit.audit.attacking import attack
from tests.adapters.conftest import need_peer
from tests.parity.cases import CNN
from tests.parity.test_parity import HALF_A_POINT, opened

DEGREES, SHIFT = 10, 1


@pytest.mark.parametrize(
    ("own", "settings", "seeds"),
    [
        ("rotation-translation:rotations=5,shifts=5", {"grid_search": True}, 1),
        ("worst-of-k:queries=100", {"grid_search": False, "random_steps": 100}, 6),
    ],
)
@pytest.mark.slow
def test_moves_fool_as_many_as_theirs(
    reference: Path, own: str, settings: dict[str, bool | int], seeds: int
) -> None:
    need_peer("foolbox")
    foolbox = importlib.import_module("foolbox")
    model, x, y, count = opened(reference, CNN, 200)
    shift = SHIFT * x.shape[2] / (x.shape[2] - 1)
    peer = foolbox.attacks.SpatialAttack(max_rotation=DEGREES, max_translation=shift, **settings)
    ours, theirs = 0.0, 0.0
    for seed in range(seeds):
        threat = f"spatial:{DEGREES},{SHIFT}"
        result = attack(own, model, x, y, threat, batch_size=500, seed=seed)
        np.random.seed(seed)  # noqa: NPY002 - it is what foolbox draws from
        with model.frozen(), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, _, fooled = peer(to_foolbox(model), x, foolbox.criteria.Misclassification(y))
        ours += int((~result.fooled).sum()) / count / seeds
        theirs += int((~fooled).sum()) / count / seeds
    assert abs(ours - theirs) <= HALF_A_POINT
    assert 0.05 < ours < 0.95
