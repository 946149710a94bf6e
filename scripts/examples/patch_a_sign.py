"""Put a sticker on traffic signs so that a classifier reads another sign, wherever it sticks.

Usage: python scripts/examples/patch_a_sign.py [--target 12] [--size 12] [--steps 300]
           [--out sign-patch.png]

Trains one patch on 1000 pictures of the German traffic sign benchmark (12 is "priority road"), and
counts on 1000 others how often the model reads the target with the patch and with noise in its
place. Needs the reference checkpoints in ../shared/reference; elsewhere it says so and ends.
"""

import argparse
import sys
from pathlib import Path

import torch

import robustkit as rk
from robustkit.attacks.patch import Patch, Recipe, Views, success, train_patch
from robustkit.verbs.patches import rounded, write_patch

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT.parent / "shared" / "reference"


def main() -> None:
    """Train, count, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", type=int, default=12, help="the sign to be read")
    parser.add_argument("--size", type=int, default=12, help="of the sticker, in pixels")
    parser.add_argument("--steps", type=int, default=300, help="of training")
    parser.add_argument("--out", type=Path, default=Path("sign-patch.png"), help="the PNG")
    arguments = parser.parse_args()
    if not REFERENCE.is_dir():
        print("skipped: the reference checkpoints are not here: ../shared/reference")
        return
    sys.path.insert(0, str(REFERENCE))
    checkpoint = REFERENCE / "gtsrb" / "mmr-traffic-signs.safetensors"
    model = rk.load(checkpoint, arch="nets:mmr_traffic_signs", preprocess="none")
    samples = rk.open_samples(REFERENCE / "gtsrb" / "test-2000.npz")
    x, y, target = samples.pixels(slice(None)), samples.y, arguments.target
    size = (arguments.size, arguments.size)
    recipe = Recipe(size, "square", steps=arguments.steps, batch_size=64)
    patch = rounded(train_patch(model, x[:1000], y[:1000], target=target, recipe=recipe))
    rest = torch.arange(1000, len(x))
    rest = rest[y[rest] != target]
    noise = Patch(torch.rand(3, *size, generator=torch.Generator().manual_seed(0)), patch.mask)
    for name, one in (("patch", patch), ("noise", noise)):
        read = success(model, one, x=x[rest], y=y[rest], target=target, views=Views())
        print(f"with the {name} {read.float().mean():.1%} of {len(rest)} signs read as {target}")
    write_patch(arguments.out, patch, {"target": target, "model": model.name})
    print(f"wrote {arguments.out}: try `robustkit patch print {arguments.out}`")


if __name__ == "__main__":
    main()
