"""What training a patch costs over the model's own forward and backward on the same pictures.

Usage: python scripts/bench_patch.py [--steps 100] [--batch 8] [--device cpu]

Trains a 50 x 50 patch on 224 x 224 pictures against torchvision's ResNet-18 (random weights: the
cost is the same), in slices of ten steps that take turns with as many bare forwards and backwards
with respect to the input, and prints the ratio of the sums; and how much the peak memory of a
training of N steps lies above that of one of a tenth.
"""

import argparse
import resource
import time
from collections.abc import Callable

import torch
import torchvision  # type: ignore[import-untyped]  # it ships no types

from robustkit.attacks.patch import Recipe, train_patch
from robustkit.model import Classifier

SLICE = 10


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100, help="of training")
    parser.add_argument("--batch", type=int, default=8, help="pictures a step")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    module = torchvision.models.resnet18(weights=None)
    model = Classifier(module, name="resnet18", device=arguments.device)
    before = {key: value.clone() for key, value in model.module.state_dict().items()}
    x = torch.rand(arguments.batch, 3, 224, 224, device=arguments.device)
    y = torch.zeros(len(x), dtype=torch.int64, device=arguments.device)
    recipe = Recipe((50, 50), steps=SLICE, batch_size=len(x))

    def training() -> None:
        train_patch(model, x, y, target=1, recipe=recipe)

    for warm_up in (training, lambda: bare(model, x, 2)):
        warm_up()
    spent = [0.0, 0.0]
    for _ in range(max(1, arguments.steps // SLICE)):
        spent[0] += seconds(training, x.device)
        spent[1] += seconds(lambda: bare(model, x, SLICE), x.device)
    same = all(torch.equal(value, before[key]) for key, value in model.module.state_dict().items())
    print(
        f"{arguments.steps} steps, batch {len(x)}, {x.device}: training {spent[0]:.2f} s, "
        f"bare {spent[1]:.2f} s, ratio {spent[0] / spent[1]:.3f} (target <= 1.3); "
        f"model unchanged: {same}"
    )
    grown = [peak(model, x, y, steps) for steps in (arguments.steps // 10, arguments.steps)]
    print(f"peak memory after {arguments.steps // 10} steps {grown[0]:.0f} MiB, after "
          f"{arguments.steps} steps {grown[1]:.0f} MiB")  # fmt: skip


def peak(model: Classifier, x: torch.Tensor, y: torch.Tensor, steps: int) -> float:
    """The most memory in MiB that training has taken: of the GPU, or of the process so far."""
    if x.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(x.device)
    train_patch(model, x, y, target=1, recipe=Recipe((50, 50), steps=steps, batch_size=len(x)))
    if x.device.type == "cuda":
        return torch.cuda.max_memory_allocated(x.device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def bare(model: Classifier, x: torch.Tensor, steps: int) -> None:
    """Forwards and backwards with respect to the input, and nothing else."""
    with model.frozen(), torch.enable_grad():
        for _ in range(steps):
            seen = x.clone().requires_grad_()
            torch.autograd.grad(model.module(seen).logsumexp(1).sum(), seen)


def seconds(work: Callable[[], None], device: torch.device) -> float:
    """How long some work takes, the device's share included."""
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - start


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
