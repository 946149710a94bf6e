"""AutoAttack on the robust reference models, beside what the published code measures on them.

Usage: python scripts/measure_autoattack.py [--white-box] [--kept FILE] [--write] [MODEL ...]

Runs the suite autoattack on the first 200 samples and prints a line an attack; `--white-box` stops
after APGD-CE and APGD-T. With `--kept`, the lines of every finished model are appended to FILE,
and models that are in it already are not run again. `--write` makes reports/autoattack.md of all
lines. Needs the reference checkpoints in ../shared/reference; the whole takes hours on one core.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import torch
from reference import (  # type: ignore[import-not-found]  # it lies beside this script
    MODELS,
    ROOT,
    need_reference,
)

import robustkit as rk
from robustkit.attacks.cascades import suite

SAMPLES = 200


class Row(NamedTuple):
    """A reference model and the robust accuracies that the published code gives it."""

    name: str
    threat: str
    apgd: float
    autoattack: float


ROWS = (
    Row("mnist/lenet5-adversarial", "linf:0.3", apgd=0.905, autoattack=0.900),
    Row("mnist/small-provable", "linf:0.3", apgd=0.735, autoattack=0.720),
    Row("cifar10/cnn-a-adversarial", "linf:2/255", apgd=0.505, autoattack=0.505),
)

HEAD = ("| model | threat | after | robust | published | seconds |", "|---|---|---|---|---|---|")


def main() -> None:
    """Print the table, and write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="parts of the names; without, all")
    parser.add_argument("--white-box", action="store_true", help="APGD-CE and APGD-T only")
    parser.add_argument("--kept", type=Path, help="a file of lines measured before")
    parser.add_argument("--write", action="store_true", help="make reports/autoattack.md")
    arguments = parser.parse_args()
    need_reference()
    kept = arguments.kept
    lines = kept.read_text().splitlines() if kept and kept.is_file() else []
    print("\n".join((*HEAD, *lines)), flush=True)
    for row in ROWS:
        wanted = not arguments.models or any(part in row.name for part in arguments.models)
        if wanted and not any(row.name in line for line in lines):
            found = measured(row, white_box=arguments.white_box)
            print("\n".join(found), flush=True)
            lines += found
            if kept:
                kept.write_text("\n".join(lines) + "\n")
    if arguments.write:
        (ROOT / "reports" / "autoattack.md").write_text(report(lines))


def report(lines: list[str]) -> str:
    """The page of all lines, and which models are not among them."""
    missing = [row.name for row in ROWS if not any(row.name in line for line in lines)]
    return (
        "# AutoAttack, ours and the published code\n\n"
        f"Robust accuracy on the first {SAMPLES} samples after each attack of the suite "
        "autoattack; published: the reference implementation on the same samples (after "
        f"APGD-T, and after Square). Torch {torch.__version__}, one thread.\n"
        "Made by `python scripts/measure_autoattack.py --write`.\n\n"
        + "\n".join((*HEAD, *lines))
        + (f"\n\nNot measured yet: {', '.join(missing)}.\n" if missing else "\n")
    )


def measured(row: Row, *, white_box: bool) -> list[str]:
    """The lines of one model, one an attack."""
    norm = row.threat.partition(":")[0]
    attacks = suite("autoattack", norm).attacks
    reference, model = need_reference(), MODELS[row.name]
    log = rk.audit(
        reference / f"{row.name}.safetensors", reference / f"{model.data}.npz", row.threat,
        arch=model.arch, preprocess=model.preprocess, samples=SAMPLES, trials=False,
        attacks=attacks[:2] if white_box else attacks,
    )  # fmt: skip
    published = {1: f"{row.apgd:.3f}", 3: f"{row.autoattack:.3f}"}
    return [
        f"| {row.name} | {row.threat} | {attack.name} | {attack.robust_accuracy_so_far:.3f} "
        f"| {published.get(place, '')} | {attack.seconds:.0f} |"
        for place, attack in enumerate(log.threats[0].attacks)
    ]


if __name__ == "__main__":
    main()
