"""Make the two models and the data of this example from scikit-learn's handwritten digits.

Usage: python train.py

Takes a few seconds, and writes *.safetensors and gate.npz beside itself. Both models see the same
pictures in the same order; the hardened one sees them attacked (PGD, Madry et al. 2018).
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from nets import make
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import Generator, Tensor, nn
from torch.nn import functional

HERE = Path(__file__).parent
EPS, EPOCHS, GATE = 0.1, 40, 300
MODELS = {"hardened": True, "unhardened": False}


def attacked(
    module: nn.Module, x: Tensor, y: Tensor, *, eps: float, generator: Generator
) -> Tensor:
    """`x` `[B, 1, 8, 8]`, moved by at most `eps` a pixel in five steps up the cross-entropy."""
    low, high = (x - eps).clamp(min=0), (x + eps).clamp(max=1)
    x_adv = low + (high - low) * torch.rand(x.shape, generator=generator)
    for _ in range(5):
        x_adv.requires_grad_()
        loss = functional.cross_entropy(module(x_adv), y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x_adv)
        x_adv = (x_adv.detach() + eps / 2 * gradient.sign()).clamp(low, high)
    return x_adv


def train(x: Tensor, y: Tensor, *, hardened: bool) -> nn.Module:
    """A model that learned `x`, attacked with a budget that grows, or as they are."""
    torch.manual_seed(0)
    generator = Generator().manual_seed(0)
    module = make()
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    for epoch in range(EPOCHS):
        eps = EPS * min(1.0, 0.2 + 2 * epoch / EPOCHS)
        for index in torch.randperm(len(x), generator=generator).split(64):
            pictures, labels = x[index], y[index]
            if hardened:
                pictures = attacked(module, pictures, labels, eps=eps, generator=generator)
            optimizer.zero_grad()
            functional.cross_entropy(module(pictures), labels).backward()
            optimizer.step()
    return module.eval()


def main() -> None:
    """Write the three files; the gate's pictures were not learned."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    digits = load_digits()
    pixels = np.round(digits.images * 255 / 16).astype(np.uint8)[:, None]
    order = np.random.RandomState(0).permutation(len(pixels))
    gate, learned = order[:GATE], order[GATE:]
    np.savez_compressed(HERE / "gate.npz", x=pixels[gate], y=digits.target[gate])
    x = torch.from_numpy(pixels[learned]).float().div(255)
    y = torch.from_numpy(digits.target[learned])
    for name, hardened in MODELS.items():
        save_file(train(x, y, hardened=hardened).state_dict(), HERE / f"{name}.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
