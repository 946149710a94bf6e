"""The reference models and pictures beside the checkout, for the scripts that measure on them."""

import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT.parent / "shared" / "reference"
CIFAR = "mean=0.491373,0.482353,0.446667;std=0.247059,0.243529,0.261569"


class Model(NamedTuple):
    """How a checkpoint is loaded, and the pictures it is measured on."""

    arch: str
    preprocess: str
    data: str


MODELS = {
    "mnist/lenet5-standard": Model("nets:lenet5", "none", "mnist/test-1000"),
    "mnist/lenet5-adversarial": Model("nets:lenet5", "none", "mnist/test-1000"),
    "mnist/small-provable": Model("nets:small_mnist", "none", "mnist/test-1000"),
    "cifar10/cnn-a-adversarial": Model("nets:cnn_a", CIFAR, "cifar10/sdp-200"),
    "cifar10/resnet20-standard": Model("nets:resnet20", "imagenet", "cifar10/test-1000"),
}


def need_reference() -> Path:
    """The folder of all of it, whose `nets.py` can be imported from now on; leaves without it."""
    if not REFERENCE.is_dir():
        sys.exit("expected the reference models in ../shared/reference, got no such folder; "
                 "fix: put them there, beside the checkout")  # fmt: skip
    if str(REFERENCE) not in sys.path:
        sys.path.insert(0, str(REFERENCE))
    return REFERENCE
