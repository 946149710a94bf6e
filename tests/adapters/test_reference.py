"""The reference models through other libraries' PGD: the same robust accuracy as through ours.

From the picture itself, because random starts differ, and with as many steps of the same length.
Ours climbs cross-entropy, as theirs do: where softmax saturates its own loss finds more.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from robustkit.audit.attacking import attack
from robustkit.loading import load, open_samples
from tests.adapters.conftest import need_peer

CIFAR = "mean=0.491373,0.482353,0.446667;std=0.247059,0.243529,0.261569"
MODELS = {
    "cifar10/cnn-a-adversarial": ("nets:cnn_a", CIFAR, "cifar10/sdp-200", 2 / 255, 200, 40),
    "mnist/small-provable": ("nets:small_mnist", "none", "mnist/test-1000", 0.3, 500, 20),
    "mnist/lenet5-standard": ("nets:lenet5", "none", "mnist/test-1000", 0.1, 500, 20),
    "mnist/lenet5-adversarial": ("nets:lenet5", "none", "mnist/test-1000", 0.3, 200, 20),
    "cifar10/resnet20-standard": (
        "nets:resnet20", "imagenet", "cifar10/test-1000", 1 / 255, 200, 10,
    ),
}  # fmt: skip
"""Network, preprocessing, data, budget, samples, steps."""


@pytest.mark.slow
@pytest.mark.parametrize("peer", ["foolbox", "torchattacks"])
@pytest.mark.parametrize("name", MODELS)
def test_pgd_comes_out_the_same_and_the_model_stays_as_it_is(
    reference: Path, name: str, peer: str
) -> None:
    need_peer(peer)
    arch, preprocess, data, eps, count, steps = MODELS[name]
    model = load(reference / f"{name}.safetensors", arch=arch, preprocess=preprocess)
    module = model.module.train()
    samples = open_samples(reference / f"{data}.npz", samples=count)
    x, y = samples.pixels(slice(0, count)), samples.y
    before = {key: value.clone() for key, value in module.state_dict().items()}
    length = 2 / steps if steps <= 20 else 5 / steps
    same = f"random_start=false,steps={steps}"
    fooled = [
        np.asarray(attack(text, model, x, y, f"linf:{eps}", batch_size=250).fooled)
        for text in (
            f"pgd:{same},step_size={eps * length},loss=cross-entropy",
            {
                "foolbox": f"foolbox:LinfPGD:{same},rel_stepsize={length}",
                "torchattacks": f"torchattacks:PGD:{same},alpha={eps * length}",
            }[peer],
        )
    ]
    assert abs(int(fooled[0].sum()) - int(fooled[1].sum())) <= 0.005 * count
    assert 0.03 * count < fooled[0].sum() < count
    assert all(part.training for part in module.modules())
    assert all(weight.grad is None and weight.requires_grad for weight in module.parameters())
    after = module.state_dict()
    assert all(
        torch.equal(value, after[key]) and value.dtype == after[key].dtype
        for key, value in before.items()
    )
