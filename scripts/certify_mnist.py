"""Certify small MNIST networks three ways, and judge denoisers by who attacks them.

Usage: python scripts/certify_mnist.py [--out FOLDER] [--write] [ROW ...]

Calls `robustkit harden` and `robustkit certify` as a user would: the first 8000 pictures of MNIST's
test set to train on, others of the last 2000 to judge. Finished rows are kept in `--out` and an
interrupted one is gone on with. `--write` makes reports/certificates.md of the finished rows. Needs
../shared/reference; half an hour of CPU.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import torch
from harden_mnist import (  # type: ignore[import-not-found]  # it lies beside this script
    KEPT,
    LEARNED,
    hardened,
    kept,
    prepare,
    standard,
)
from reference import ROOT  # type: ignore[import-not-found]

import robustkit as rk
from robustkit.report.numbers import percent, span


class Proof(NamedTuple):
    """A network trained for a certificate, the certificate, and what is asked of it."""

    name: str
    harden: str
    certify: str
    wanted: str


class Guard(NamedTuple):
    """A denoiser in front of the standard network, and how many pictures judge it."""

    name: str
    harden: str
    wanted: str


QUICK = "--attack pgd:steps=10 --samples 100"
PROOFS = (
    Proof(
        "ibp", f"--recipe ibp --threat linf:0.3 {QUICK}",
        "--method ibp --threat linf:0.3", ">= 70 % at linf:0.3",
    ),
    Proof(
        "smoothing", f"--recipe gaussian --epochs 10 --threat l2:0.5 {QUICK}",
        "--sigma 0.5 --draws 2000 --samples 300 --radius 0.5",
        ">= 85 % at l2:0.5",
    ),
    Proof(
        "patch-cleanser", "--recipe masked --threat patch:5x5 --attack masked-pgd:steps=5 "
        "--samples 50", "--method patch-cleanser --threat patch:5x5 --samples 500",
        ">= 40 % of 5x5 patches",
    ),
)  # fmt: skip
DENOISER = "--denoiser unet --threat linf:0.2 --suite standard --samples 100"
GUARDS = (
    Guard("end-to-end", f"--recipe pgd-at --epochs 15 {DENOISER}", ">= 80 %"),
    Guard("pixel", f"--recipe denoise-pixel --epochs 6 {DENOISER}", "shown for what it is"),
    Guard("hgd", f"--recipe denoise-hgd --epochs 6 {DENOISER}", "shown for what it is"),
)

PAGE = """\
# Certificates and denoisers on a small network on MNIST

Two convolutions, 166 406 weights; the first {learned} pictures of MNIST's test set to train on,
the last 2000 to judge, from the first on. One seed, one thread.
Made by `python scripts/certify_mnist.py --write` with {versions}.

## Certified below, attacked above

The share of pictures that are right and proven, and the share that stays right under an attack that
ran beside the proof: the truth lies between. Intervals are exact, at 95 %.

| trained and certified by | threat | n | clean | certified | under attack | wanted |
|---|---|---|---|---|---|---|
{proofs}

IBP is about the network itself. Smoothing is about the vote of noisy copies, and each of its
certificates errs with probability 0.001 at most; PatchCleanser is about the vote of masked copies.
{guards}{missing}"""

DENOISERS = """
## Denoisers in front of a network that may not be touched

The network alone keeps {alone} of {samples} pictures under linf:0.2. Each denoiser (a U-Net of 8
channels) was trained in front of it and audited as a pipeline, by the suite `standard` and the
attacks that its views call for. The last number is the result; the one before it is what an
attacker leaves who does not know of the denoiser.

| taught by | clean | without knowing | all attacks, 95 % interval | wanted |
|---|---|---|---|---|
{lines}
"""


def main() -> None:
    """Run what is not finished, print a line each, and write the page if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [one.name for one in (*PROOFS, *GUARDS)]
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(names))
    place = ROOT / "robustkit-runs" / "certify-mnist"
    parser.add_argument("--out", type=Path, default=place, help=KEPT)
    parser.add_argument("--write", action="store_true", help="make reports/certificates.md")
    arguments = parser.parse_args()
    out = arguments.out
    prepare(out)
    standard(out)
    wanted = set(arguments.rows or names)
    for proof in PROOFS:
        if proof.name in wanted:
            weights = hardened(out, proof.name, "untrained", proof.harden)["weights"]
            words = ["certify", weights, "--data", "judge.npz", *proof.certify.split()]
            kept(out, f"{proof.name}-certified", words)
            print(proved(proof, out), flush=True)
    for guard in GUARDS:
        if guard.name in wanted:
            hardened(out, guard.name, "standard", guard.harden)
            print(withstood(guard, out), flush=True)
    if arguments.write:
        (ROOT / "reports" / "certificates.md").write_text(report(out))


def proved(proof: Proof, out: Path) -> str:
    """The lines of a proof, one a claim."""
    facts = kept(out, f"{proof.name}-certified", [])
    lines = []
    for row in facts["certified"]:
        cells = (
            proof.name, row["threat"], facts["samples"], percent(facts["clean_accuracy"]),
            f"**{percent(row['certified_accuracy'])}** {span(row['interval'])}",
            f"{percent(row['attacked_accuracy'])} {span(row['attacked_interval'])}",
            proof.wanted if row["threat"] in proof.wanted or len(facts["certified"]) == 1 else "",
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def withstood(guard: Guard, out: Path) -> str:
    """The line of a denoiser."""
    after = kept(out, guard.name, [])["after"]
    audit = json.loads((out / guard.name / "after/audit.json").read_text())
    alone = {one["name"]: one["robust_accuracy_alone"] for one in audit["threats"][0]["attacks"]}
    cells = (
        guard.name, percent(after["clean_accuracy"]), percent(alone["apgd-ce@undefended"]),
        f"**{percent(after['robust_accuracy'])}** {span(after['interval'])}", guard.wanted,
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def report(out: Path) -> str:
    """The page of all finished rows; what is not finished is called open."""
    proofs = [one for one in PROOFS if (out / f"{one.name}-certified.json").exists()]
    guards = [one for one in GUARDS if (out / f"{one.name}.json").exists()]
    missing = [one.name for one in (*PROOFS, *GUARDS) if one not in (*proofs, *guards)]
    section = ""
    if guards:
        before = kept(out, guards[0].name, [])["before"]
        section = DENOISERS.format(
            alone=percent(before["robust_accuracy"]), samples=before["samples"],
            lines="\n".join(withstood(one, out) for one in guards),
        )  # fmt: skip
    return PAGE.format(
        learned=LEARNED, versions=f"torch {torch.__version__}, robustkit {rk.__version__}",
        proofs="\n".join(proved(one, out) for one in proofs), guards=section,
        missing=f"\nOpen, not measured here yet: {', '.join(missing)}.\n" if missing else "",
    )  # fmt: skip


if __name__ == "__main__":
    main()
