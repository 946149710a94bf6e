"""The embedded default: two tiny classifiers and the data they know, without any download.

Both models have the same network and know scikit-learn's handwritten digits (8 x 8 pixels);
`digits-standard` was trained as usual, and `digits-adversarial` is what `robustkit harden` made of
it. `scripts/train_zoo.py` makes the weights. Nothing here imports torch before it is asked for a
model or for data.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from robustkit.errors import UserError

if TYPE_CHECKING:
    from robustkit.loading.samples import Samples
    from robustkit.model import Classifier

MODELS = ("digits-standard", "digits-adversarial")
DATASETS = ("digits",)
THREAT = "linf:0.1"
"""The budget that tells the two models apart; `digits-adversarial` was trained for it."""

CLASSES = tuple("0123456789")
FOLDER = Path(__file__).parent


def load_model(name: str) -> "Classifier":
    """The classifier called `name`, one of MODELS; it takes pixels `[B, 1, 8, 8]` in [0, 1].

    Raises UserError for any other name.

    >>> load_model("digits-standard").name
    'zoo:digits-standard'
    """
    _check(name, MODELS, "a model")
    import hashlib

    from safetensors.torch import load

    from robustkit.model import Classifier
    from robustkit.preprocess import Preprocess
    from robustkit.zoo.nets import digits_net

    content = (FOLDER / f"{name}.safetensors").read_bytes()
    module = digits_net()
    module.load_state_dict(load(content))
    return Classifier(
        module.eval(),
        preprocess=Preprocess(),
        name=f"zoo:{name}",
        sha256=hashlib.sha256(content).hexdigest(),
        source="robustkit.zoo, trained by scripts/train_zoo.py",
        classes=CLASSES,
    )


def load_samples(name: str, *, split: Literal["test", "train"] = "test") -> "Samples":
    """The data set called `name`, one of DATASETS: 500 test pictures or the 1297 others.

    Pixels are float32 in sixteenths, from 0 to 1; an id is the position in scikit-learn's order.
    Raises UserError for any other name.

    >>> digits = load_samples("digits")
    >>> digits.x.shape, digits.ids[:2]
    (torch.Size([500, 1, 8, 8]), ('1768', '1452'))
    """
    _check(name, DATASETS, "a data set")
    import torch
    from numpy.random import RandomState
    from sklearn.datasets import load_digits

    from robustkit.loading.samples import Samples

    digits = load_digits()
    # RandomState is the generator whose stream numpy has promised never to change.
    order = RandomState(0).permutation(len(digits.target))
    index = {"train": order[:-500], "test": order[-500:]}[split]
    return Samples.of(
        torch.from_numpy(digits.images[index]).float().div(16).unsqueeze(1),
        torch.from_numpy(digits.target[index]),
        ids=[f"{position:04d}" for position in index],
        classes=CLASSES,
        name=f"zoo:{name}",
    )


def _check(name: str, known: tuple[str, ...], what: str) -> None:
    if name not in known:
        names = ", ".join(f"zoo:{one}" for one in known)
        raise UserError(f"{what} of the zoo", f"zoo:{name}", f"take one of {names}")
