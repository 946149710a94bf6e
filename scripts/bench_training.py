"""What one step of adversarial training costs over its own raw forwards and backwards.

Usage: python scripts/bench_training.py [--seconds 40] [--write]

Interleaves, in one process and on one thread, a whole step of the loop (pictures drawn and moved,
attack, loss, optimiser, averaged weights) with the forwards and backwards that any implementation
of the same objective has to make on such pictures, and prints the median of the paired ratios of
process CPU time. Then it times, each after such passes, what the step of the smallest network does
beside them. `--write` keeps both tables in reports/training-cost.md. Needs ../shared/reference.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from reference import (  # type: ignore[import-not-found]  # it lies beside this script
    ROOT,
    need_reference,
)
from torch import Tensor
from torch.nn import functional

import robustkit as rk
from robustkit.defenses.training.assembly import Assembly
from robustkit.defenses.training.average import average_
from robustkit.defenses.training.inner import beside, still
from robustkit.defenses.training.objectives import objective
from robustkit.defenses.training.recipe import Recipe
from robustkit.defenses.training.trainer import Trainer
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

BATCH = 128
TARGET = 0.05
FEWEST = 10


class Case(NamedTuple):
    """A network, its pictures, and an objective with as many inner steps."""

    arch: str
    data: str
    eps: float
    objective: str
    inner: int


CASES = (
    Case("small_mnist", "mnist/test-10000", 0.3, "pgd-at", 10),
    Case("small_mnist", "mnist/test-10000", 0.1, "fgsm-rs", 1),
    Case("lenet5", "mnist/test-10000", 0.3, "pgd-at", 10),
    Case("lenet5", "mnist/test-10000", 0.1, "fgsm-rs", 1),
    Case("resnet20", "cifar10/test-1000", 8 / 255, "fgsm-rs", 1),
    Case("resnet20", "cifar10/test-1000", 8 / 255, "n-fgsm", 1),
    Case("resnet20", "cifar10/test-1000", 8 / 255, "pgd-2", 2),
)
SMALLEST = CASES[1]
PAGE = """\
# Cost of one training step

Median over interleaved pairs of the CPU time of one step of the loop (moved pictures, random start,
attack, loss, SGD, averaged weights) over that of the bare forwards and backwards that the objective
consists of: one of each for every inner step, with frozen weights, and one of each for the weights,
on the pictures that the objective makes, since what a rectifier or a pooling costs depends on them
(batch {batch}, one thread, torch {torch}).
Made by `python scripts/bench_training.py --write`.

{table}

The target is 5 %. {verdict}

What a step of {smallest} does beside its passes, each measured after such passes, with caches as
they leave them:

| part | ms | of the bare passes of fgsm-rs |
|---|---|---|
{parts}

They are bound by memory: weights, gradients, momenta and averages are each read or written once,
pictures a few times. The rest of the difference is the attack's own arithmetic on pictures and
logits, many small operations, and what all of it leaves of the caches to the passes.
"""


def main() -> None:
    """Print the tables, and write them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=40, help="CPU time for each row")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    need_reference()
    torch.set_num_threads(1)
    lines = [
        "| network | objective | pairs | ms a step | over its passes |",
        "|---|---|---|---|---|",
    ]
    missed = []
    for case in CASES:
        pairs, seconds, over = measured(case, arguments.seconds)
        cells = case.arch, case.objective, f"{pairs}", f"{1000 * seconds:.0f}", f"{over - 1:+.1%}"
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
        missed += [f"{case.objective} on {case.arch}"] if over > 1 + TARGET else []
    parts = beside_passes(SMALLEST, arguments.seconds)
    print(*parts, sep="\n")
    verdict = f"Missed by {' and '.join(missed)}." if missed else "All rows meet it."
    if arguments.write:
        text = PAGE.format(
            batch=BATCH, torch=torch.__version__, table="\n".join(lines), verdict=verdict,
            smallest=SMALLEST.arch, parts="\n".join(parts),
        )  # fmt: skip
        (ROOT / "reports" / "training-cost.md").write_text(text)


def measured(case: Case, seconds: float) -> tuple[int, float, float]:
    """How many pairs, CPU seconds of a step, and the median ratio to its bare passes."""
    trainer, bare = prepared(case)
    steps: list[float] = []
    ratios: list[float] = []
    end = time.process_time() + seconds
    while len(steps) < FEWEST or time.process_time() < end:
        # Who comes second finds the caches as the first has left them: they take turns.
        if len(steps) % 2:
            step, passed = clock(trainer.advance), clock(bare)
        else:
            passed, step = clock(bare), clock(trainer.advance)
        steps.append(step)
        ratios.append(step / passed)
    return len(steps), statistics.median(steps), statistics.median(ratios)


def prepared(case: Case) -> tuple[Trainer, Callable[[], None]]:
    """A trainer that has made a few steps, and the bare passes of such a step."""
    import nets  # type: ignore[import-not-found]  # it lies beside the reference checkpoints

    torch.manual_seed(0)
    model = Classifier(getattr(nets, case.arch)())
    samples = rk.open_samples(need_reference() / f"{case.data}.npz")
    trainer = Trainer(model, samples, ThreatModel("linf", case.eps), recipe(case), seed=0)
    for _ in range(2):
        trainer.advance()
    batch = trainer.pictures(trainer.index[:BATCH])
    attacked = objective(case.objective)
    assert isinstance(attacked, Assembly)
    x_adv = attacked.pictures(trainer.model, batch, trainer.now)
    return trainer, partial(passes, trainer.model.module, x_adv, batch.y, case.inner)


def beside_passes(case: Case, seconds: float) -> list[str]:
    """The rows of the table of what a step does beside its passes."""
    trainer, bare = prepared(case)
    batch = trainer.pictures(trainer.index[:BATCH])
    rows = slice(BATCH)

    def held_still() -> None:
        with still(trainer.model, batch_statistics=True):
            pass

    parts: dict[str, Callable[[], object]] = {
        "pictures taken out and moved": lambda: trainer.album.taken(
            trainer.epoch.order[rows], trainer.epoch.moves.part(rows)
        ),
        "random start": lambda: beside(batch.x, trainer.now, batch.draws()),
        "weights frozen, modes set and put back": held_still,
        "optimiser": trainer.optimizer.step,
        "averaged weights": lambda: average_(trainer.followed, decay=0.995, step=9),
    }
    times: dict[str, list[float]] = {name: [] for name in parts}
    raw: list[float] = []
    end = time.process_time() + seconds
    while len(raw) < FEWEST or time.process_time() < end:
        for name, part in parts.items():
            raw.append(clock(bare))
            times[name].append(clock(part))
    whole = statistics.median(raw)
    found = [(name, statistics.median(times[name])) for name in parts]
    found.append(("together", sum(spent for _, spent in found)))
    return [f"| {name} | {1000 * spent:.2f} | {spent / whole:.1%} |" for name, spent in found]


def recipe(case: Case) -> Recipe:
    """The objective with everything that the loop does by default."""
    return Recipe(objective=case.objective, batch_size=BATCH, warm_up=0.0)


def passes(module: torch.nn.Module, x: Tensor, y: Tensor, inner: int) -> None:
    """What the objective cannot do without: inner gradients, and one of the weights."""
    weights = list(module.parameters())
    for weight in weights:
        weight.requires_grad_(False)
    for _ in range(inner):
        seen = x.clone().requires_grad_()
        torch.autograd.grad(functional.cross_entropy(module(seen), y), seen)
    for weight in weights:
        weight.requires_grad_(True)
        weight.grad = None
    module.train()
    functional.cross_entropy(module(x), y).backward()


def clock(work: Callable[[], object]) -> float:
    """CPU seconds of this process for one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
