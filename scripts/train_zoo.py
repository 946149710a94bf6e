"""Train the two zoo models and write their weights into `robustkit/zoo/`.

Usage: .venv/bin/python scripts/train_zoo.py [--check]

About three minutes of one core; `--check` trains and compares, and writes nothing.

`digits-standard` is trained here; `digits-adversarial` is what `robustkit harden` makes of it. One
seed, one thread, CPU only: the same versions on the same kind of processor give the same bytes.
Other processors add in another order and end up at slightly other weights, with accuracies that
differ by about a point.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, nn
from torch.nn import functional

import robustkit as rk
from robustkit import zoo
from robustkit.cli import cli
from robustkit.zoo.nets import digits_net

# Training a little beyond the budget pays at the budget.
HARDEN = (
    "harden", "zoo:digits-standard", "--recipe", "standard", "--epochs", "60",
    "--threat", "linf:0.11", "--suite", "quick",
)  # fmt: skip
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


def train_standard() -> nn.Module:
    """The undefended model, trained from scratch, in evaluation mode."""
    torch.manual_seed(0)
    generator = Generator().manual_seed(0)
    data = zoo.load_samples("digits", split="train")
    module = digits_net()
    optimizer = torch.optim.Adam(module.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=EPOCHS * -(-len(data) // BATCH_SIZE)
    )
    for _ in range(EPOCHS):
        for index in torch.randperm(len(data), generator=generator).split(BATCH_SIZE):
            optimizer.zero_grad()
            x = shift(data.x[index], generator)
            functional.cross_entropy(module(x), data.y[index]).backward()
            optimizer.step()
            schedule.step()
    return module.eval()


def harden_standard() -> nn.Module:
    """What `robustkit harden` makes of the undefended model in the zoo."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made"
        code = cli.main([*HARDEN, "--out", str(made)], "robustkit", standalone_mode=False)
        assert not code, "robustkit does not call its own model hardened"
        module = digits_net()
        module.load_state_dict(load_file(made / "hardened.safetensors"))
    return module.eval()


TRAINED = {"digits-standard": train_standard, "digits-adversarial": harden_standard}


def accuracies(module: nn.Module) -> tuple[float, float]:
    """Clean accuracy and the one left after 5 x 50 steps of PGD, on the test split."""
    attacks = ["pgd:steps=50,restarts=5"]
    log = rk.audit(rk.Classifier(module), zoo.load_samples("digits"), zoo.THREAT, attacks=attacks)
    return log.clean_accuracy, log.robust_accuracy


def main() -> None:
    """Train, report, and write or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the weights, keep them")
    check = parser.parse_args().check
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name in zoo.MODELS:
        module = TRAINED[name]()
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
        print(f"{name}: clean {clean:.3f}, PGD at {zoo.THREAT} {robust:.3f}, {said}")


if __name__ == "__main__":
    main()
