"""Harden a ResNet-18 for CIFAR-10 by the presets, and judge it by AutoAttack. Made for a GPU.

Usage: python scripts/harden_cifar.py [--device NAME] [--out FOLDER] [--samples N] [--write]
                                      [--pictures N] [--epochs N] [ROW ...]

Calls `robustkit harden` from untrained weights on the reference's 49,904 training pictures (a tenth
of them for validation), and audits by the suite `autoattack` on the first `--samples` of the
others. Finished rows are kept in `--out` and an interrupted one is gone on with. `--write` makes
reports/hardening-cifar.md of them. To see that all of it works, `--pictures 256 --epochs 1
--samples 4` takes minutes of a CPU; such rows are not written. Needs ../shared/reference.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harden_mnist import (  # type: ignore[import-not-found]  # it lies beside this script
    KEPT,
    Row,
    audits,
    kept,
    outcome,
    robust,
)
from reference import REFERENCE, ROOT, need_reference  # type: ignore[import-not-found]
from safetensors.torch import save_file
from torch import nn

import robustkit as rk

ASKED = "--threat linf:8/255 --flip --recipe"
ROWS = (
    Row("fast", f"{ASKED} fast", wanted="robust >= 43 % within 10 minutes"),
    Row("standard", f"{ASKED} standard", wanted="robust >= 46 %"),
)
PAGE = """\
# Hardening a ResNet-18 on CIFAR-10

`robustkit harden` from untrained weights on {device}: {learned} pictures, a tenth of them held back
for validation; judged by the suite `autoattack` on n = {samples} others. One seed. Training time is
that of the whole command but for its two audits.
Made by `python scripts/harden_cifar.py --write` with torch {torch}, robustkit {robustkit}.

| asked for | training | clean | robust, 95 % interval | wanted | outcome | minutes of training |
|---|---|---|---|---|---|---|
{rows}
"""


def resnet18() -> nn.Module:
    """The usual one for 32 x 32 pixels: a first convolution of 3 x 3, nothing pooled behind it."""
    from torchvision.models import resnet18 as large

    network: nn.Module = large(num_classes=10)
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


def main() -> None:
    """Run what is not finished, print a line each, and write the table if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help="fast, standard")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=ROOT / "robustkit-runs" / "cifar", help=KEPT)
    parser.add_argument("--samples", type=int, default=1000, help="how many pictures judge")
    parser.add_argument("--pictures", type=int, help="train on that many only")
    parser.add_argument("--epochs", type=int, help="instead of those of the preset")
    parser.add_argument("--write", action="store_true", help="make reports/hardening-cifar.md")
    arguments = parser.parse_args()
    if arguments.write and (arguments.pictures or arguments.epochs):
        parser.error("--write is for whole runs, without --pictures and --epochs")
    learned = prepare(arguments.out, arguments.pictures)
    lines = []
    for row in ROWS:
        if not arguments.rows or row.name in arguments.rows:
            words = [*row.asked.split(), "--device", arguments.device]
            words += ["--samples", f"{arguments.samples}"]
            words += ["--epochs", f"{arguments.epochs}"] if arguments.epochs else []
            lines.append(line(row, arguments.out, finish(arguments.out, row.name, words)))
            print(lines[-1], flush=True)
    if arguments.write:
        text = PAGE.format(
            device=audits(arguments.out / "fast")[1]["environment"]["device"],
            learned=learned, samples=arguments.samples, rows="\n".join(lines),
            torch=torch.__version__, robustkit=rk.__version__,
        )  # fmt: skip
        (ROOT / "reports" / "hardening-cifar.md").write_text(text)


def prepare(out: Path, pictures: int | None) -> int:
    """Untrained weights, seeded, and the training pictures in one file; how many there are."""
    need_reference()
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    save_file(resnet18().state_dict(), out / "untrained.safetensors")
    parts = [np.load(REFERENCE / f"cifar10/train-{number}.npz") for number in range(3)]
    x, y = (np.concatenate([part[key] for part in parts])[:pictures] for key in "xy")
    np.savez(out / "train.npz", x=x, y=y)
    return len(x)


def finish(out: Path, name: str, words: list[str]) -> dict[str, Any]:
    """What `robustkit harden` says of a run."""
    known = ["--data", "train.npz", "--held-out", str(REFERENCE / "cifar10/test-1000.npz")]
    fixed = ["harden", "untrained.safetensors", *known, "--preprocess", "cifar10"]
    return kept(out, name, [*fixed, "--suite", "autoattack", *words], "harden_cifar:resnet18")


def line(row: Row, out: Path, facts: dict[str, Any]) -> str:
    """A row of the table."""
    recipe = json.loads((out / row.name / "recipe.json").read_text())["recipe"]
    trained = facts["seconds"] - sum(log["seconds"] for log in audits(out / row.name))
    cells = (
        f"`{row.asked}`",
        f"{recipe['objective']}, {recipe['epochs']} epochs",
        f"{facts['after']['clean_accuracy']:.1%}",
        robust(row, out / row.name),
        row.wanted,
        outcome(facts),
        f"{trained / 60:.1f}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
