"""AutoAttack on the reference models, beside what the authors' implementation measured.

Usage: python scripts/measure_autoattack.py [--samples 200] [--suite autoattack] [--write]

Runs the suite as `robustkit audit` does, on the first samples of each data set, and prints the
robust accuracy after every attack. `--write` keeps the table in reports/autoattack.md. Needs the
reference checkpoints in ../shared/reference; the full run takes a long time on a CPU.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import torch

import robustkit as rk

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT.parent / "shared" / "reference"
PUBLISHED_SAMPLES = 200


class Measured(NamedTuple):
    """A reference model, and what the authors' implementation says on its first 200 samples."""

    name: str
    arch: str
    preprocess: str
    data: str
    threat: str
    clean: float
    apgd: float
    autoattack: float


MODELS = (
    Measured(
        "mnist/lenet5-adversarial", "nets:lenet5", "none", "mnist/test-1000", "linf:0.3",
        0.995, 0.905, 0.900,
    ),
    Measured(
        "mnist/small-provable", "nets:small_mnist", "none", "mnist/test-1000", "linf:0.3",
        0.875, 0.735, 0.720,
    ),
    Measured(
        "cifar10/cnn-a-adversarial", "nets:cnn_a",
        "mean=0.491373,0.482353,0.446667;std=0.247059,0.243529,0.261569",
        "cifar10/sdp-200", "linf:2/255", 0.700, 0.505, 0.505,
    ),
)  # fmt: skip
HEADER = (
    "| model | threat | n | clean | after each attack | robust | reference (clean, APGD, all) "
    "| forwards | backwards | seconds | trusted |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    """Print the table, and write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=PUBLISHED_SAMPLES)
    parser.add_argument("--suite", default="autoattack")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    if not REFERENCE.is_dir():
        sys.exit("the reference checkpoints are not here: ../shared/reference")
    sys.path.insert(0, str(REFERENCE))
    lines = [HEADER]
    print(HEADER)
    for measured in MODELS:
        lines.append(row(measured, audit(measured, arguments.samples, arguments.suite)))
        print(lines[-1], flush=True)
    if arguments.write:
        (ROOT / "reports" / "autoattack.md").write_text(page(arguments.suite, lines))


def audit(measured: Measured, samples: int, suite: str) -> rk.AuditLog:
    """The audit of one model."""
    model = rk.load(
        REFERENCE / f"{measured.name}.safetensors",
        arch=measured.arch,
        preprocess=measured.preprocess,
    )
    data = rk.open_samples(REFERENCE / f"{measured.data}.npz").take(samples)
    return rk.audit(model, data, measured.threat, suite=suite)


def row(measured: Measured, log: rk.AuditLog) -> str:
    """One line of the table."""
    (threat,) = log.threats
    steps = ", ".join(f"{a.name} {a.robust_accuracy_so_far:.3f}" for a in threat.attacks)
    comparable = threat.samples == PUBLISHED_SAMPLES
    reference = f"{measured.clean:.3f}, {measured.apgd:.3f}, {measured.autoattack:.3f}"
    cells = [
        measured.name, measured.threat, threat.samples, f"{threat.clean_accuracy:.3f}", steps,
        f"{threat.robust_accuracy:.3f}",
        reference if comparable else f"({reference} on {PUBLISHED_SAMPLES})",
        sum(attack.forwards for attack in threat.attacks),
        sum(attack.backwards for attack in threat.attacks),
        f"{log.seconds:.0f}", "yes" if threat.trusted else "no",
    ]  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def page(suite: str, lines: list[str]) -> str:
    """The report around the table."""
    return (
        "# AutoAttack beside the authors' implementation\n\n"
        f"The suite `{suite}` on the first samples of each data set, fp32, seed 0, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}. The reference columns are "
        "the authors' implementation on the same samples: clean accuracy, robust accuracy after "
        "APGD-CE and APGD-T, and after the whole cascade. Lower is the stronger attack; every "
        "success was verified by a fresh forward.\n"
        f"Made by `python scripts/measure_autoattack.py --suite {suite} --write`.\n\n"
        + "\n".join(lines)
        + "\n"
    )


if __name__ == "__main__":
    main()
