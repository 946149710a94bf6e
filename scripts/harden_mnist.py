"""Harden a small MNIST network five ways, as a user would, and judge each by the standard suite.

Usage: python scripts/harden_mnist.py [--samples 500] [--out FOLDER] [--write] [ROW ...]

Calls `robustkit harden` on the untrained network: the first 8000 pictures of MNIST's test set to
train on (a tenth of them for validation), the first `--samples` of the last 2000 to judge. Finished
rows are kept in `--out` and an interrupted one is gone on with. `--write` makes
reports/hardening.md of the finished rows. Needs ../shared/reference; a quarter of an hour of CPU.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file

import robustkit as rk

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT.parent / "shared" / "reference"
LEARNED = 8000


class Row(NamedTuple):
    """A run: what the user asks for, and what is asked of it."""

    name: str
    recipe: str
    threat: str
    wanted: str


ROWS = (
    Row("fgsm-rs-0.1", "fast", "linf:0.1", "robust >= 88 %"),
    Row("pgd-at-0.1", "standard", "linf:0.1", "robust >= 90 %"),
    Row("trades-0.3", "strong", "linf:0.3", "robust >= 80 %"),
    Row("pgd-at-0.3", "standard", "linf:0.3", "no collapse"),
    Row("n-fgsm-0.3", "n-fgsm", "linf:0.3", "caught; repaired or refused"),
)


PAGE = """\
# Hardening a small network on MNIST

`robustkit harden` from an untrained network (two convolutions, 166 406 weights): the first
{learned} pictures of MNIST's test set to train on, a tenth of them held back for validation; clean
and robust accuracy on n = {samples} of the 2000 others, which no run has seen, under the suite
`standard` (apgd-ce, apgd-t, fab-t, square), worst case per picture. One seed, one thread. CPU
seconds are those of training and both audits; of the last stretch where a run was interrupted.
Made by `python scripts/harden_mnist.py --write` with {versions}.

| asked for | training | clean | robust, 95 % interval | wanted | outcome | CPU s |
|---|---|---|---|---|---|---|
{rows}

What a step of training costs is in [training-cost.md](training-cost.md).

Open: the CIFAR-10 figures (ResNet-18 by `fast` and `standard`) need a GPU, and none was at hand.
The code path is tested on the CPU.
"""


def main() -> None:
    """Run what is not finished, print a line each, and write the table if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(one.name for one in ROWS))
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--out", type=Path, default=ROOT / "robustkit-runs" / "mnist")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    if not REFERENCE.is_dir():
        sys.exit("the reference pictures are not here: ../shared/reference")
    out = arguments.out
    prepare(out)
    for row in ROWS:
        if not arguments.rows or row.name in arguments.rows:
            finish(row, out, arguments.samples)
            print(line(row, out), flush=True)
    if arguments.write:
        (ROOT / "reports" / "hardening.md").write_text(report(out, arguments.samples))


def prepare(out: Path) -> None:
    """The untrained network, seeded, and both parts of the pictures."""
    out.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(REFERENCE))
    import nets  # type: ignore[import-not-found]  # it lies beside the reference checkpoints

    torch.manual_seed(0)
    save_file(nets.small_mnist().state_dict(), out / "untrained.safetensors")
    with np.load(REFERENCE / "mnist/test-10000.npz") as known:
        x, y = known["x"], known["y"]
    np.savez(out / "train.npz", x=x[:LEARNED], y=y[:LEARNED])
    np.savez(out / "judge.npz", x=x[LEARNED:], y=y[LEARNED:])


def finish(row: Row, out: Path, samples: int) -> None:
    """Run a row to its end, unless that was done before; what it said is kept beside it."""
    words = [
        "harden", "untrained.safetensors", "--data", "train.npz", "--held-out", "judge.npz",
        "--samples", str(samples), "--suite", "standard", "--recipe", row.recipe,
        "--threat", row.threat,
    ]  # fmt: skip
    kept(out, row.name, words)


def kept(out: Path, name: str, words: list[str]) -> dict[str, Any]:
    """What robustkit prints as JSON and its CPU seconds, from the disk if it was run before."""
    place, folder = out / f"{name}.json", out / name
    if not place.exists():
        begun = any((folder / one).exists() for one in ("training.pt", "ledger.jsonl"))
        paths = os.pathsep.join((str(ROOT), str(REFERENCE)))
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        done = subprocess.run(
            [
                sys.executable, "-c", "from robustkit.cli import main; main()", *words,
                "--arch", "nets:small_mnist", "--out", name, "--json",
                *(["--resume"] if begun else []),
            ],
            stdout=subprocess.PIPE, text=True, cwd=out, check=False,
            env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
        if done.returncode not in (0, 1):
            sys.exit(f"{name}: robustkit left with {done.returncode}")
        spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
        place.write_text(json.dumps({**json.loads(done.stdout), "cpu_seconds": spent}, indent=2))
    facts: dict[str, Any] = json.loads(place.read_text())
    return facts


def line(row: Row, out: Path) -> str:
    """A row of the table."""
    facts = json.loads((out / f"{row.name}.json").read_text())
    after = facts["after"]
    low, high = after["interval"]
    recipe = json.loads((out / row.name / "recipe.json").read_text())["recipe"]
    cells = (
        f"`--recipe {row.recipe} --threat {row.threat}`",
        f"{recipe['objective']}, {recipe['epochs']} epochs",
        f"{after['clean_accuracy']:.1%}",
        f"**{after['robust_accuracy']:.1%}** [{low:.1%}, {high:.1%}]",
        row.wanted,
        outcome(facts),
        f"{facts['cpu_seconds']:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def outcome(facts: dict[str, Any]) -> str:
    """What `harden` said, and which alarms it had to answer on the way."""
    said = "hardened" if facts["hardened"] else f"refused: {'; '.join(facts['reasons'])}"
    met = [f"{one['alarm']} at step {one['step']}: {one['remedy']}" for one in facts["alarms"]]
    warned = sorted({one["message"].partition(":")[0] for one in facts["warnings"]})
    return "; ".join([said, *met, *(f"warned that {one}" for one in warned)])


def report(out: Path, samples: int) -> str:
    """The page of all finished rows."""
    done = [line(row, out) for row in ROWS if (out / f"{row.name}.json").exists()]
    versions = f"torch {torch.__version__}, robustkit {rk.__version__}"
    return PAGE.format(learned=LEARNED, samples=samples, versions=versions, rows="\n".join(done))


if __name__ == "__main__":
    main()
