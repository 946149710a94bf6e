"""What one step of an attack costs over the model's own forward and input gradient.

Usage: python scripts/bench_step.py [--pairs 30] [--write]

Interleaves, in one process and on one thread, a step of the attack (as the engine calls it) with a
bare forward + backward with respect to the input on the same batch, and prints the median of the
paired ratios of process CPU time. `--write` keeps the table in reports/step-cost.md. Needs the
reference checkpoints in ../shared/reference.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from reference import (  # type: ignore[import-not-found]  # it lies beside this script
    MODELS,
    ROOT,
    need_reference,
)

import robustkit as rk
from robustkit.attacks import build
from robustkit.attacks.attack import pose

BUDGETS = {
    "mnist/lenet5-adversarial": 0.3,
    "mnist/small-provable": 0.3,
    "cifar10/resnet20-standard": 8 / 255,
    "cifar10/cnn-a-adversarial": 2 / 255,
}
ATTACKS = ("pgd",)
BATCH = 128  # what --batch-size auto picks for these pictures on a CPU


def main() -> None:
    """Print the table, and write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=30, help="measurements a row")
    parser.add_argument("--write", action="store_true", help="make reports/step-cost.md")
    arguments = parser.parse_args()
    reference = need_reference()
    torch.set_num_threads(1)
    lines = ["| model | " + " | ".join(ATTACKS) + " |", "|---|" + "---|" * len(ATTACKS)]
    for name, eps in BUDGETS.items():
        arch, preprocess, data = MODELS[name]
        model = rk.load(reference / f"{name}.safetensors", arch=arch, preprocess=preprocess)
        samples = rk.open_samples(reference / f"{data}.npz")
        cells = [f"{ratio(model, samples, eps, attack, arguments.pairs):.3f}" for attack in ATTACKS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    if arguments.write:
        text = (
            "# Cost of one attack step\n\n"
            f"Median over {arguments.pairs} interleaved pairs of the CPU time of one step over "
            "that of one bare forward + input gradient "
            f"(linf, batch {BATCH}, one thread, torch {torch.__version__}).\n"
            "Made by `python scripts/bench_step.py --write`.\n\n"
        )
        (ROOT / "reports" / "step-cost.md").write_text(text + "\n".join(lines) + "\n")


def ratio(model: rk.Classifier, samples: rk.Samples, eps: float, attack: str, pairs: int) -> float:
    """The median ratio of a step to the bare forward and backward."""
    x, y = samples.pixels(slice(0, BATCH)), samples.y[:BATCH]
    chosen = build(attack)
    with model.frozen(), torch.no_grad():
        threat = rk.ThreatModel("linf", eps)
        problem = pose(model, x, rk.Goal(y), threat, index=torch.arange(len(x)))
        state = chosen.init(problem)
        for _ in range(3):
            state = chosen.step(problem, state)
        ratios = []
        for _ in range(pairs):
            bare = clock(lambda: forward_and_gradient(model, x, y))
            step = clock(lambda state=state: chosen.step(problem, state))
            ratios.append(step / bare)
    return statistics.median(ratios)


def forward_and_gradient(model: rk.Classifier, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """What any gradient attack has to do: cross-entropy, and its gradient in the input."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = model.module(model.preprocess.apply(x))
        loss = torch.nn.functional.cross_entropy(logits, y, reduction="sum")
        return torch.autograd.grad(loss, x)[0]


def clock(work: Callable[[], object], repeats: int = 3) -> float:
    """CPU seconds of this process for a few calls."""
    start = time.process_time()
    for _ in range(repeats):
        work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
