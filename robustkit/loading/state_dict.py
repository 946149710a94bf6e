"""From what a checkpoint holds to the weights in it, and from those into a module."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from robustkit.errors import RefusedError, UserError

WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model", "net")
"""Where training scripts put the weights, the averaged ones first, as timm reads them."""

ALWAYS = ("module.", "_orig_mod.")
"""Prefixes of DataParallel and torch.compile: never part of an architecture."""

IF_EXACT = ("model.", "net.", "backbone.")
"""Prefixes that go only where the names then are exactly the module's."""

Weights = dict[str, Tensor]

_COUNTER = "num_batches_tracked"


def find_weights(content: Any, *, key: str | None, name: str) -> tuple[Weights, list[str]]:
    """The state dict in `content` and notes on where it was found.

    `key` is where the caller knows it to be; without one `WRAPPERS` are tried in order, then
    `content` itself. Raises RefusedError where there is none.
    """
    if key is not None:
        keys = [key]
        if not isinstance(content, Mapping) or not _tensors(content.get(key)):
            held = list(content) if isinstance(content, Mapping) else type(content).__name__
            raise UserError(
                f"a state dict under {key!r} in {name}", f"{_some(held)}", "name another key"
            )
    else:
        keys = [k for k in WRAPPERS if isinstance(content, Mapping) and _tensors(content.get(k))]
    if keys:
        others = ", ".join(str(k) for k in content if k != keys[0])
        note = f"weights taken from {keys[0]!r}" + (f", beside {others}" if others else "")
        return _tensors(content[keys[0]]), [note]
    weights = _tensors(content)
    if not weights:
        held = list(content) if isinstance(content, Mapping) else type(content).__name__
        raise RefusedError(
            "a state dict: names and tensors",
            f"{_some(held)} in {name}",
            "save model.state_dict(), or name its key",
        )
    return weights, []


def _tensors(content: Any) -> Weights:
    """`content` as names and tensors, or nothing where most of it is something else."""
    if not isinstance(content, Mapping):
        return {}
    weights = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}
    # Extra state and a version number may lie among the weights; a dict of dicts is a wrapper.
    return weights if 2 * len(weights) > len(content) else {}


class Difference(NamedTuple):
    """How the names and shapes of some weights differ from those of a module."""

    missing: list[str]
    unexpected: list[str]
    misshaped: list[str]

    @classmethod
    def between(cls, weights: Weights, wanted: Mapping[str, Any]) -> "Difference":
        """Compare; BatchNorm's counters, which old checkpoints lack, are not missed."""
        return cls(
            [n for n in wanted if n not in weights and not n.endswith(_COUNTER)],
            [n for n in weights if n not in wanted],
            [
                f"{n} is {list(t.shape)} in the file, {_shape(wanted[n])} in the model"
                for n, t in weights.items()
                if n in wanted and list(t.shape) != _shape(wanted[n])
            ],
        )

    @property
    def exact(self) -> bool:
        """True where there is none."""
        return not any(self)

    def __str__(self) -> str:
        """The difference in words."""
        parts = zip(("missing", "not in the model", "another shape"), self, strict=True)
        return "; ".join(f"{len(names)} {what}: {_some(names)}" for what, names in parts if names)


def fit(weights: Weights, wanted: Mapping[str, Any]) -> tuple[Weights, list[str]]:
    """Rename `weights` to the names of `wanted` by taking prefixes away; notes say which."""
    if Difference.between(weights, wanted).exact:
        return weights, []
    stripped, notes = _without_wrappers(weights)
    if Difference.between(stripped, wanted).exact:
        return stripped, notes
    for prefix in IF_EXACT:
        inner = {n.removeprefix(prefix): t for n, t in stripped.items() if n.startswith(prefix)}
        if inner and Difference.between(inner, wanted).exact:
            left = [n for n in stripped if not n.startswith(prefix)]
            notes.append(f"prefix {prefix!r} taken from {len(inner)} names")
            notes += [f"{len(left)} other tensors left out: {_some(left)}"] if left else []
            return inner, notes
    return stripped, notes


def strip_prefix(weights: Weights, prefix: str, *, name: str) -> tuple[Weights, list[str]]:
    """The weights whose names begin with `prefix`, without it, and a note on what was done.

    >>> strip_prefix({"net.weight": torch.ones(1)}, "net.", name="x")[0].keys()
    dict_keys(['weight'])
    """
    inner = {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}
    if not inner:
        raise UserError(
            f"names that begin with --strip-prefix {prefix} in {name}",
            _some(list(weights)),
            "write the prefix as it is there, with its dot",
        )
    left = [n for n in weights if not n.startswith(prefix)]
    notes = [f"prefix {prefix!r} taken from {len(inner)} names, as asked for"]
    return inner, notes + ([f"{len(left)} other tensors left out: {_some(left)}"] if left else [])


def _without_wrappers(weights: Weights) -> tuple[Weights, list[str]]:
    notes: list[str] = []
    if "n_averaged" in weights and all(n[:7] == "module." for n in weights if n != "n_averaged"):
        # torch.optim.swa_utils.AveragedModel counts its updates beside the weights.
        weights = {name: tensor for name, tensor in weights.items() if name != "n_averaged"}
        notes.append("weights are a running average")
    for prefix in ALWAYS:
        renamed = {_strip(name, prefix): tensor for name, tensor in weights.items()}
        count = len(renamed.keys() - weights.keys())
        if count and len(renamed) == len(weights):
            weights = renamed
            notes.append(f"prefix {prefix!r} taken from {count} names")
    return weights, notes


def _strip(name: str, prefix: str) -> str:
    while name.startswith(prefix):
        name = name.removeprefix(prefix)
    # A compiled part of a model has the prefix in the middle of its names.
    return name.replace("._orig_mod.", ".") if prefix == "_orig_mod." else name


def fill(module: nn.Module, weights: Weights, *, name: str, arch: str) -> list[str]:
    """Copy `weights` into `module`, all of them and no others; return notes on what was done.

    Raises RefusedError with the difference in words where names or shapes do not agree, and where
    a weight is NaN.
    """
    wanted = module.state_dict()
    weights, notes = fit(weights, wanted)
    difference = Difference.between(weights, wanted)
    odd = [n for n, t in weights.items() if t.layout != torch.strided or t.is_quantized]
    if odd:
        raise RefusedError(
            "plain dense tensors",
            f"sparse or quantised ones in {name}: {_some(odd)}",
            "save the float model's state dict",
        )
    counters = {n: t for n, t in wanted.items() if n not in weights and n.endswith(_COUNTER)}
    try:
        # Where names differ a module may still know how to read its own old layout.
        module.load_state_dict(counters | weights, strict=True)
    except Exception:  # noqa: BLE001 - hooks of the user's module may raise anything
        raise RefusedError(
            f"the weights of {arch}", f"others in {name}: {difference}", _advice(difference)
        ) from None
    # Only now: what has the shape of a weight of the model is not larger than the model.
    kept = {n: t for n, t in weights.items() if n in wanted}
    return notes + check_values(kept, name=name)


def check_values(weights: Weights, *, name: str) -> list[str]:
    """Refuse NaN; notes on infinities and low precision."""
    floats = {n: t for n, t in weights.items() if t.is_floating_point() and t.numel()}
    ends = {n: [float(end) for end in t.float().aminmax()] for n, t in floats.items()}
    broken = [n for n, (low, high) in ends.items() if math.isnan(low) or math.isnan(high)]
    if broken:
        raise RefusedError(
            "weights that are numbers",
            f"NaN in {len(broken)} of {len(weights)} tensors of {name}: {_some(broken)}",
            "take a checkpoint from before the training diverged",
        )
    endless = [n for n, (low, high) in ends.items() if math.isinf(low) or math.isinf(high)]
    notes = [f"infinite values in {_some(endless)}"] if endless else []
    kinds = {str(t.dtype).removeprefix("torch.") for t in floats.values()}
    coarse = sorted(kinds - {"float32", "float64"})
    return [*notes, f"weights stored as {', '.join(coarse)}"] if coarse else notes


def _advice(difference: Difference) -> str:
    if difference.misshaped and not difference.missing and not difference.unexpected:
        return (
            "the layers agree but not their sizes: give the factory the right number of classes, "
            "such as --arch pkg.mod:factory?num_classes=10"
        )
    return "give the factory of exactly this network, or the checkpoint of this factory"


def _shape(value: Any) -> list[int] | None:
    return list(value.shape) if isinstance(value, Tensor) else None


def _some(names: Any, limit: int = 5) -> str:
    """The first few of many names."""
    if isinstance(names, str):
        return names
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(str(name) for name in names[:limit]) + more
