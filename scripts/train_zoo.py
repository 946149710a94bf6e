"""Train the two zoo models and write their weights into `robustkit/zoo/`.

    .venv/bin/python scripts/train_zoo.py            # writes, under three minutes on one core
    .venv/bin/python scripts/train_zoo.py --check    # trains, compares, writes nothing

One seed, one thread, CPU only: the same versions on the same kind of processor give the same bytes.
Other processors add in another order and end up at slightly other weights, with accuracies that
differ by about a point.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, nn
from torch.nn import functional

from robustkit import zoo
from robustkit.zoo.nets import digits_net

EPS = 0.1
# Training a little beyond the budget pays at the budget.
STEPS = {"digits-standard": 0, "digits-adversarial": 5}
TRAINING_EPS = 0.11
EPOCHS = 60
BATCH_SIZE = 64
LEARNING_RATE = 1e-2


def shift(x: Tensor, generator: Generator) -> Tensor:
    """Each picture of `x` `[B, 1, 8, 8]` moved by -1, 0 or 1 pixels both ways, zeros moving in."""
    batch, _, height, width = x.shape
    padded = functional.pad(x, (1, 1, 1, 1))[:, 0]
    top, left = torch.randint(0, 3, (2, batch, 1), generator=generator)
    rows, columns = top + torch.arange(height), left + torch.arange(width)
    return padded[torch.arange(batch)[:, None, None], rows[:, :, None], columns[:, None, :]][
        :, None
    ]


def attack(
    module: nn.Module, x: Tensor, y: Tensor, *, eps: float, steps: int, generator: Generator
) -> Tensor:
    """PGD on the cross-entropy (Madry et al. 2018): `x_adv` within linf `eps` and [0, 1]."""
    low, high = (x - eps).clamp(min=0), (x + eps).clamp(max=1)
    x_adv = low + (high - low) * torch.rand(x.shape, generator=generator)
    for _ in range(steps):
        x_adv.requires_grad_()
        loss = functional.cross_entropy(module(x_adv), y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x_adv)
        x_adv = (x_adv.detach() + 2.5 * eps / steps * gradient.sign()).clamp(low, high)
    return x_adv


def train(name: str) -> nn.Module:
    """The zoo model `name`, trained from scratch, in evaluation mode."""
    torch.manual_seed(0)
    generator = Generator().manual_seed(0)
    data = zoo.load_samples("digits", split="train")
    module = digits_net()
    optimizer = torch.optim.Adam(module.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=EPOCHS * -(-len(data) // BATCH_SIZE)
    )
    for epoch in range(EPOCHS):
        eps = TRAINING_EPS * min(1, 0.2 + 2 * epoch / EPOCHS)
        for index in torch.randperm(len(data), generator=generator).split(BATCH_SIZE):
            x, y = shift(data.x[index], generator), data.y[index]
            if STEPS[name]:
                x = attack(module, x, y, eps=eps, steps=STEPS[name], generator=generator)
            optimizer.zero_grad()
            functional.cross_entropy(module(x), y).backward()
            optimizer.step()
            schedule.step()
    return module.eval()


def accuracies(module: nn.Module) -> tuple[float, float]:
    """Clean accuracy and the one left after 5 x 50 steps of PGD at linf 0.1, on the test split."""
    data = zoo.load_samples("digits")
    right = module(data.x).argmax(1) == data.y
    clean = right.float().mean().item()
    for seed in range(5):
        generator = Generator().manual_seed(seed)
        x_adv = attack(module, data.x, data.y, eps=EPS, steps=50, generator=generator)
        right &= module(x_adv).argmax(1) == data.y
    return clean, right.float().mean().item()


def main() -> None:
    """Train, report, and write or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the weights, keep them")
    check = parser.parse_args().check
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name in zoo.MODELS:
        module = train(name)
        path = Path(zoo.__file__).with_name(f"{name}.safetensors")
        state = module.state_dict()
        said = "written"
        if check:
            kept = load_file(path)
            same = all(torch.equal(state[key], kept[key]) for key in state)
            said = "the same weights" if same else "other weights"
        else:
            save_file(state, path)
        clean, robust = accuracies(module)
        print(f"{name}: clean {clean:.3f}, PGD at linf {EPS} {robust:.3f}, {said}")


if __name__ == "__main__":
    main()
