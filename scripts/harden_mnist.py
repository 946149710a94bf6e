"""Harden a small MNIST network in many ways, as a user would, and judge each by the standard suite.

Usage: python scripts/harden_mnist.py [--out FOLDER] [--write] [ROW ...]

Calls `robustkit harden`: the first 8000 pictures of MNIST's test set to train on (a tenth of them
for validation), others of the last 2000 to judge. Finished rows are kept in `--out` and an
interrupted one is gone on with. `--write` makes reports/hardening.md of the finished rows. Needs
../shared/reference; three quarters of an hour of CPU.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from reference import (  # type: ignore[import-not-found]  # it lies beside this script
    REFERENCE,
    ROOT,
    need_reference,
)
from safetensors.torch import save_file

import robustkit as rk
from robustkit.defenses.training.loop import train
from robustkit.defenses.training.recipe import Recipe
from robustkit.loading import open_samples
from robustkit.threat import ThreatModel

LEARNED = 8000
KEPT = "where runs are kept"


class Row(NamedTuple):
    """A run: the flags of the user, on how many pictures it is judged, what is asked of it.

    `start` is the network that it begins with.
    """

    name: str
    asked: str
    samples: int = 300
    wanted: str = ""
    start: str = "untrained"


ROWS = (
    Row("fgsm-rs-0.1", "--recipe fast --threat linf:0.1", 500, "robust >= 88 %"),
    Row("pgd-at-0.1", "--recipe standard --threat linf:0.1", 500, "robust >= 90 %"),
    Row("trades-0.3", "--recipe strong --threat linf:0.3", 500, "robust >= 80 %"),
    Row("pgd-at-0.3", "--recipe standard --threat linf:0.3", 500, "no collapse"),
    Row("n-fgsm-0.3", "--recipe n-fgsm --threat linf:0.3", 500, "caught; repaired or refused"),
)
"""What was promised."""
OTHERS = (
    Row("free", "--recipe free --threat linf:0.1 --epochs 6"),
    Row("distill", "--recipe distill --threat linf:0.1 --epochs 5", start="standard"),
    Row("universal-at", "--recipe universal-at --threat linf:0.1 --epochs 10"),
    Row("patch-at", "--recipe patch-at --threat patch:5x5 --epochs 6", start="standard"),
    Row("awp", "--recipe awp --threat linf:0.1 --epochs 6"),
    Row("mart", "--recipe mart --threat linf:0.1 --epochs 6"),
    Row("grad-align", "--recipe grad-align --threat linf:0.1 --epochs 6"),
    Row("e-at", "--recipe e-at --threat linf:0.1 --threat l2:1 --threat l1:5 --epochs 6"),
)
"""Short runs of the recipes that no preset chooses for one small budget."""

PAGE = """\
# Hardening a small network on MNIST

`robustkit harden` from an untrained network (two convolutions, 166 406 weights): the first
{learned} pictures of MNIST's test set to train on, a tenth of them held back for validation; clean
and robust accuracy on n = {first} of the 2000 others, which no run has seen, under the suite
`standard` (apgd-ce, apgd-t, fab-t, square), worst case per picture. One seed, one thread. CPU
seconds are those of training and both audits; of the last stretch where a run was interrupted.
Made by `python scripts/harden_mnist.py --write` with {versions}.

| asked for | training | clean | robust, 95 % interval | wanted | outcome | CPU s |
|---|---|---|---|---|---|---|
{rows}

## Other recipes

Short runs, judged in the same way on n = {second} (patches: masked-apgd and patch-rs; l1: wide
APGD): each is to raise robust accuracy on validation, which is 20 steps of PGD on the margin,
against all threats at once where there are several. What begins with the trained network has its
weights after 8 epochs without any attack; the row of distill says what those are worth at linf:0.1.
Universal perturbations are trained against, and here judged by those made for each picture.

| asked for | training | clean | robust, 95 % interval | on validation | outcome | CPU s |
|---|---|---|---|---|---|---|
{others}
{missing}
What a step of training costs is in [training-cost.md](training-cost.md).

Open: the CIFAR-10 figures (ResNet-18 by `fast` and `standard`) need a GPU, and none was at hand.
With one, `python scripts/harden_cifar.py --write` measures them.
"""


def main() -> None:
    """Run what is not finished, print a line each, and write the tables if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [one.name for one in (*ROWS, *OTHERS)]
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(names))
    parser.add_argument("--out", type=Path, default=ROOT / "robustkit-runs" / "mnist", help=KEPT)
    parser.add_argument("--write", action="store_true", help="make reports/hardening.md")
    arguments = parser.parse_args()
    out = arguments.out
    prepare(out)
    for row in (*ROWS, *OTHERS):
        if not arguments.rows or row.name in arguments.rows:
            finish(row, out)
            print(line(row, out), flush=True)
    if arguments.write:
        (ROOT / "reports" / "hardening.md").write_text(report(out))


def prepare(out: Path) -> None:
    """The untrained network, seeded, and both parts of the pictures."""
    need_reference()
    out.mkdir(parents=True, exist_ok=True)
    import nets  # type: ignore[import-not-found]  # it lies beside the reference checkpoints

    torch.manual_seed(0)
    save_file(nets.small_mnist().state_dict(), out / "untrained.safetensors")
    with np.load(REFERENCE / "mnist/test-10000.npz") as known:
        x, y = known["x"], known["y"]
    np.savez(out / "train.npz", x=x[:LEARNED], y=y[:LEARNED])
    np.savez(out / "judge.npz", x=x[LEARNED:], y=y[LEARNED:])


def standard(out: Path) -> None:
    """The same network trained without any attack, unless that was done before."""
    place = out / "standard.safetensors"
    if place.exists():
        return
    model = rk.load(out / "untrained.safetensors", arch="nets:small_mnist")
    recipe = Recipe(
        objective="gaussian", optimizer="adamw", lr=5e-3, weight_decay=0.0, epochs=8,
        batch_size=100, held=0.02,
    )  # fmt: skip
    done = train(model, open_samples(out / "train.npz"), ThreatModel("l2", 0.0), recipe)
    save_file(done.last.module.state_dict(), place)


def finish(row: Row, out: Path) -> None:
    """Run a row to its end, unless that was done before; what it said is kept beside it."""
    if row.start == "standard":
        standard(out)
    words = f"{row.asked} --suite standard --samples {row.samples}"
    hardened(out, row.name, row.start, words)


def hardened(out: Path, name: str, start: str, words: str) -> dict[str, Any]:
    """What `robustkit harden` says of a run that begins with the weights `start`."""
    known = ["--data", "train.npz", "--held-out", "judge.npz"]
    return kept(out, name, ["harden", f"{start}.safetensors", *known, *words.split()])


def kept(out: Path, name: str, words: list[str], arch: str = "nets:small_mnist") -> dict[str, Any]:
    """What robustkit prints as JSON and how long it took, from the disk if it was run before."""
    place, folder = out / f"{name}.json", out / name
    if not place.exists():
        begun = any((folder / one).exists() for one in ("training.pt", "ledger.jsonl"))
        paths = os.pathsep.join((str(ROOT), str(REFERENCE), str(ROOT / "scripts")))
        started = time.monotonic()
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        done = subprocess.run(
            [
                sys.executable, "-c", "from robustkit.cli import main; main()", *words,
                "--arch", arch, "--out", name, "--json",
                *(["--resume"] if begun else []),
            ],
            stdout=subprocess.PIPE, text=True, cwd=out, check=False,
            env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
        if done.returncode not in (0, 1):
            sys.exit(f"{name}: robustkit left with {done.returncode}")
        spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
        took = {"cpu_seconds": spent, "seconds": time.monotonic() - started}
        place.write_text(json.dumps({**json.loads(done.stdout), **took}, indent=2))
    facts: dict[str, Any] = json.loads(place.read_text())
    return facts


def line(row: Row, out: Path) -> str:
    """A row of its table."""
    facts = json.loads((out / f"{row.name}.json").read_text())
    after = facts["after"]
    recipe = json.loads((out / row.name / "recipe.json").read_text())["recipe"]
    begun = "" if row.start == "untrained" else " from the trained network"
    cells = (
        f"`{row.asked}`",
        f"{recipe['objective']}, {recipe['epochs']} epochs{begun}",
        f"{after['clean_accuracy']:.1%}",
        robust(row, out / row.name),
        row.wanted or learnt(facts),
        outcome(facts),
        f"{facts['cpu_seconds']:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def robust(row: Row, run: Path) -> str:
    """What the audits say of each threat; of the network before only where that was trained."""
    before, after = (log["threats"] for log in audits(run))
    texts = []
    for old, new in zip(before, after, strict=True):
        low, high = new["interval"]
        which = f"{new['threat']} " if len(after) > 1 else ""
        start = "" if row.start == "untrained" else f"{old['robust_accuracy']:.1%} to "
        texts.append(f"{which}{start}**{new['robust_accuracy']:.1%}** [{low:.1%}, {high:.1%}]")
    return "; ".join(texts)


def audits(run: Path) -> list[dict[str, Any]]:
    """The logs of the audits before and after a run."""
    return [json.loads((run / when / "audit.json").read_text()) for when in ("before", "after")]


def learnt(facts: dict[str, Any]) -> str:
    """Robust accuracy on validation before and after training."""
    was, now = (facts["validation"][when] for when in ("before", "after"))
    return f"{was['robust']:.1%} to {now['robust']:.1%} of {now['samples']}"


def outcome(facts: dict[str, Any]) -> str:
    """What `harden` said, and which alarms it had to answer on the way."""
    said = "hardened" if facts["hardened"] else f"refused: {'; '.join(facts['reasons'])}"
    met = [f"{one['alarm']} at step {one['step']}: {one['remedy']}" for one in facts["alarms"]]
    warned = sorted({one["message"].partition(":")[0] for one in facts["warnings"]})
    return "; ".join([said, *met, *(f"warned that {one}" for one in warned)])


def report(out: Path) -> str:
    """The page of all finished rows; what is not finished is called open."""
    unfinished = [row for row in (*ROWS, *OTHERS) if not (out / f"{row.name}.json").exists()]
    rows, others = (
        "\n".join(line(row, out) for row in table if row not in unfinished)
        for table in (ROWS, OTHERS)
    )
    names = ", ".join(row.name for row in unfinished)
    return PAGE.format(
        learned=LEARNED, first=ROWS[0].samples, second=OTHERS[0].samples, rows=rows, others=others,
        versions=f"torch {torch.__version__}, robustkit {rk.__version__}",
        missing=f"\nOpen, not measured here yet: {names}.\n" if names else "",
    )  # fmt: skip


if __name__ == "__main__":
    main()
