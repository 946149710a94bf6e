"""Compare the suite `standard` with searches many times as long, on adversarially trained networks.

Usage: python scripts/suite_strength.py [--runs FOLDER] [--samples N] [--write]

The networks are those of `scripts/harden_mnist.py`, in the folder of its `--out`; what is missing
there is left out. For each, one audit under a threat that no published suite covers: the attacks of
the suite, and behind them the longer ones on whoever is left. `--write` makes
reports/suite-strength.md. Needs ../shared/reference; ten minutes of CPU.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
from reference import ROOT, need_reference  # type: ignore[import-not-found]

import robustkit as rk
from robustkit.attacks.cascades import suite

WEIGHTS = "hardened.safetensors"
CASES = (
    ("patch-at", "patch:5x5"),
    ("trades-0.3", "patch:4x4"),
    ("pgd-at-0.1", "patch:4x4"),
    ("pgd-at-0.1", "flow:0.5"),
    ("pgd-at-0.1", "flow:1"),
    ("pgd-at-0.1", "spatial:15,2"),
)
LONGER = {
    "patch": (
        "masked-pgd:steps=20,grid=24,restarts=5", "masked-apgd:steps=100,grid=12,restarts=15",
        "patch-rs:queries=10000",
    ),
    "flow": ("stadv:steps=300", "stadv:steps=300,loss=margin", "stadv:steps=300,step_size=0.3"),
    "spatial": ("worst-of-k:queries=2000", "rotation-translation:rotations=61,shifts=9"),
}  # fmt: skip
PAGE = """\
# How much stronger a longer search is than the suite `standard`

Robust accuracy of adversarially trained MNIST networks (reports/hardening.md) on n = {samples} of
the pictures that judge them: under the suite, and when attacks that take many times as long meet
whoever it left. What they still find is what the suite misses. For linf, l2 and l1 there is a
published suite to compare with, in autoattack.md.
Made by `python scripts/suite_strength.py --write` with torch {torch}, robustkit {robustkit}.

| network | threat | `standard` | CPU s | and longer | CPU s | points |
|---|---|---|---|---|---|---|
{rows}
"""


def main() -> None:
    """Print a row for each case, and write the table if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=ROOT / "robustkit-runs" / "mnist")
    parser.add_argument("--samples", type=int, default=200, help="how many pictures judge")
    parser.add_argument("--write", action="store_true", help="make reports/suite-strength.md")
    arguments = parser.parse_args()
    need_reference()
    torch.set_num_threads(1)
    lines = []
    for case in CASES:
        if (arguments.runs / case[0] / WEIGHTS).exists():
            lines.append(row(case, arguments.runs, arguments.samples))
            print(lines[-1], flush=True)
    if arguments.write:
        text = PAGE.format(
            samples=arguments.samples, rows="\n".join(lines), torch=torch.__version__,
            robustkit=rk.__version__,
        )  # fmt: skip
        (ROOT / "reports" / "suite-strength.md").write_text(text)


def row(case: tuple[str, str], runs: Path, samples: int) -> str:
    """One case: what the suite leaves, and what longer attacks leave of that."""
    name, threat = case
    norm = threat.partition(":")[0]
    usual = suite("standard", norm).attacks
    attacks = [*usual, *LONGER[norm]]
    with tempfile.TemporaryDirectory() as place:
        both = Path(place) / "both.toml"
        both.write_text(f"attacks = {json.dumps(attacks)}")
        log = rk.audit(
            str(runs / name / WEIGHTS), str(runs / "judge.npz"), threat, arch="nets:small_mnist",
            suite=str(both), samples=samples,
        )  # fmt: skip
    met = log.threats[0].attacks[: len(attacks)]
    parts = met[: len(usual)], met[len(usual) :]
    left, least = (part[-1].robust_accuracy_so_far for part in parts)
    first, rest = (f"{sum(one.seconds for one in part):.0f}" for part in parts)
    points = f"{100 * (left - least):.1f}"
    return f"| {name} | {threat} | {left:.1%} | {first} | {least:.1%} | {rest} | {points} |"


if __name__ == "__main__":
    main()
