"""Our patches and ten published ones on GoogLeNet: who reaches the targets more often.

Usage: python scripts/patch_imagenet.py [--steps 100] [--only N] [--cache FILE] [--write]

The published patches are those of ImageNet-Patch (Pintor et al. 2023, arXiv 2203.04412), 50 x 50,
each with a target class. Ours are trained for the same target on every other reference picture, and
both are put on the rest, turned and placed at random, twice a picture. What is measured lies in
--cache, so that an interrupted run goes on; `--write` makes reports/patches.md of it and measures
nothing. Needs the reference checkpoints in ../shared/reference.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reference import (  # type: ignore[import-not-found]  # it lies beside this script
    REFERENCE,
    ROOT,
    need_reference,
)
from torch import Tensor

import robustkit as rk
from robustkit.attacks.patch import Patch, Recipe, Views, place, train_patch
from robustkit.draws import Draws
from robustkit.model import Classifier
from robustkit.verbs.patches import rounded

VIEWS = Views(brightness=0.0, perspective=0.0)
LOOKS = 2


def main() -> None:
    """Measure what is not in the cache, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100, help="of training ours")
    parser.add_argument("--only", type=int, help="this one of the ten, counted from 0")
    parser.add_argument("--cache", type=Path, default=Path("patch-imagenet.jsonl"), help="results")
    parser.add_argument("--write", action="store_true", help="make reports/patches.md")
    arguments = parser.parse_args()
    need_reference()
    torch.set_num_threads(1)
    lines = arguments.cache.read_text().splitlines() if arguments.cache.exists() else []
    rows = {row["number"]: row for row in map(json.loads, lines)}
    if arguments.write:
        write([rows[number] for number in sorted(rows)])
        return
    published = np.load(REFERENCE / "imagenet-patch" / "patches.npz")
    for number in range(10) if arguments.only is None else [arguments.only]:
        if number not in rows:
            rows[number] = measured(number, published, arguments.steps)
            with arguments.cache.open("a") as file:
                file.write(json.dumps(rows[number]) + "\n")
        print(shown(rows[number]), flush=True)


def measured(number: int, published: Any, steps: int) -> dict[str, Any]:
    """One target: the published patch, one of ours, and noise of the same size."""
    folder = REFERENCE / "imagenet"
    model = rk.load(folder / "googlenet.safetensors", arch="nets:googlenet", preprocess="none")
    samples = rk.open_samples(folder / "samples-100.npz")
    x, y, target = samples.pixels(slice(None)), samples.y, int(published["target"][number])
    theirs = Patch(
        torch.from_numpy(published["patch"][number]), torch.from_numpy(published["mask"][number])
    )
    height, width = theirs.mask.shape
    recipe = Recipe((height, width), steps=steps, step_size=0.1, batch_size=8)
    ours = train_patch(model, x[::2], y[::2], target=target, recipe=recipe, views=VIEWS)
    noise = torch.rand(theirs.pixels.shape, generator=torch.Generator().manual_seed(number))
    row: dict[str, Any] = {"number": number, "target": target, "steps": steps, "n": 0}
    for name, patch in (("theirs", theirs), ("ours", ours), ("noise", Patch(noise, theirs.mask))):
        row["n"], *row[name] = rates(model, rounded(patch), x[1::2], y[1::2], target)
    return row


def rates(
    model: Classifier, patch: Patch, x: Tensor, y: Tensor, target: int
) -> tuple[int, float, float]:
    """Looks, the share of them that goes to the target, and accuracy, with the patch on."""
    kept = y != target
    x, y = x[kept], y[kept]
    found = []
    with model.frozen(), torch.no_grad():
        for look in range(LOOKS):
            for rows in torch.arange(len(x)).split(10):
                draws = Draws.keyed(look, rows).at(0)
                shown = place(patch, x[rows], VIEWS.draw(patch, x[rows], draws))
                found.append(model(shown).argmax(1))
    answer, label = torch.cat(found), y.repeat(LOOKS)
    hit, right = (float((answer == one).float().mean()) for one in (target, label))
    return len(answer), hit, right


def shown(row: dict[str, Any]) -> str:
    """A row of the table: target, then success and accuracy under theirs, ours and noise."""
    pairs = " | ".join(
        f"{hit:.1%} | {right:.1%}" for hit, right in (row[k] for k in ("theirs", "ours", "noise"))
    )
    return f"| {row['number']} | {row['target']} | {pairs} |"


def write(rows: list[dict[str, Any]]) -> None:
    """Keep the table in reports/patches.md."""
    means = [
        sum(row[name][column] for row in rows) / len(rows)
        for name in ("theirs", "ours", "noise")
        for column in (0, 1)
    ]
    ahead = sum(row["ours"][0] >= row["theirs"][0] for row in rows)
    text = (
        "# Patches on GoogLeNet, ours and ten published ones\n\n"
        f"50 x 50 pixels on 224 x 224 (5 % of the area), {min(row['n'] for row in rows)} to "
        f"{max(row['n'] for row in rows)} looks each: the held-out "
        f"reference pictures, {LOOKS} random placements each (22.5 degrees, 0.9 to 1.1 of the "
        f"size, anywhere). Ours: {rows[0]['steps']} steps of 8 pictures on the other half. "
        "Success is the share seen as the target; accuracy that still seen right. The published "
        "patches were made on other networks (AlexNet, ResNet-18, SqueezeNet) and are meant to "
        "transfer; ours saw GoogLeNet itself. Made by `python scripts/patch_imagenet.py`, then "
        "`--write`."
        "\n\n"
        "| patch | target | published: success | accuracy | ours: success | accuracy "
        "| noise: success | accuracy |\n|---|---|---|---|---|---|---|---|\n"
        + "\n".join(map(shown, rows))
        + "\n| mean | | "
        + " | ".join(f"{value:.1%}" for value in means)
        + f" |\n\nOurs reaches its target at least as often as the published one for {ahead} of "
        f"{len(rows)} targets" + (".\n" if len(rows) == 10 else " measured so far.\n")
    )
    (ROOT / "reports" / "patches.md").write_text(text)


if __name__ == "__main__":
    main()
