"""A reference model through other libraries' PGD: the same robust accuracy as through ours.

Only where cross-entropy keeps its gradient: where softmax saturates ours finds more, by log odds.
"""

from pathlib import Path

import pytest

import robustkit as rk
from tests.adapters.conftest import need_peer

MODELS = {
    "cifar10/cnn-a-adversarial": (
        "nets:cnn_a", "mean=0.491373,0.482353,0.446667;std=0.247059,0.243529,0.261569",
        "cifar10/sdp-200", "linf:2/255", 2 / 255, 200,
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("peer", ["foolbox", "torchattacks"])
@pytest.mark.parametrize("name", MODELS)
def test_robust_accuracy_is_the_same_within_half_a_point(
    reference: Path, name: str, peer: str
) -> None:
    need_peer(peer)
    arch, preprocess, data, threat, eps, count = MODELS[name]
    theirs = {
        "foolbox": "foolbox:LinfPGD:steps=100,rel_stepsize=0.05",
        "torchattacks": f"torchattacks:PGD:steps=100,alpha={eps / 20}",
    }[peer]
    robust = [
        rk.audit(
            reference / f"{name}.safetensors", reference / f"{data}.npz", threat, arch=arch,
            preprocess=preprocess, samples=count, attacks=[attack],
        ).robust_accuracy
        for attack in (f"pgd:steps=100,step_size={eps / 20}", theirs)
    ]  # fmt: skip
    assert abs(robust[0] - robust[1]) <= 0.005
