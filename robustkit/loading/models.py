"""From a file or a name to a Classifier."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from robustkit.errors import UserError
from robustkit.loading.checkpoint import digest, read_checkpoint
from robustkit.loading.factory import call_factory
from robustkit.loading.state_dict import fill, find_weights
from robustkit.model import Classifier
from robustkit.preprocess import Preprocess

FORMS = (
    "a file of weights, zoo:NAME, torchvision:NAME, timm:NAME, hf:ORG/NAME or py:pkg.mod:factory"
)
NO_PREPROCESS = "no preprocessing was given: pixels in [0, 1] go straight into the network"


@dataclass(frozen=True)
class _Wishes:
    """What the caller said about the model; None and empty mean: take it from the source."""

    arch: str | None
    preprocess: Preprocess | None
    bounds: tuple[float, float]
    classes: Sequence[str]
    device: str
    state_key: str | None


def load(
    source: str | Path | nn.Module | Classifier,
    *,
    arch: str | None = None,
    preprocess: str | Preprocess | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    classes: Sequence[str] = (),
    device: str = "cpu",
    state_key: str | None = None,
) -> Classifier:
    """Load a classifier from a file, a name with a scheme, or a module.

    A file holds weights: safetensors, or a state dict that `torch.save` wrote, bare or wrapped
    (`state_key` says where, if it is not one of the usual places). `arch` names the factory of its
    network, `pkg.mod:factory` or `file.py:factory`; the weights must fit it exactly. Schemes bring
    network and preprocessing along: `zoo:NAME`, `torchvision:NAME`, `timm:NAME`, `hf:ORG/NAME`,
    `py:pkg.mod:factory`. What was assumed or taken away is in the `notes` of the result.

    No file is ever allowed to run code. Raises RefusedError where one would or does not fit,
    UserError where there is no such thing, ToolError where something is not installed or not there.

    >>> load(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), preprocess="half").preprocess.mean
    (0.5,)
    """
    asked = Preprocess.parse(preprocess) if isinstance(preprocess, str) else preprocess
    wishes = _Wishes(arch, asked, bounds, tuple(classes), device, state_key)
    if isinstance(source, Classifier):
        return _as_given(source, wishes)
    if isinstance(source, nn.Module):
        return _classifier(source, wishes, name=type(source).__name__)
    scheme, colon, rest = str(source).partition(":")
    if colon and scheme in _SCHEMES:
        if arch or state_key:
            raise UserError(
                f"--arch and a state key with a file only, as {scheme}: brings its own network",
                f"{arch or state_key!r} with {str(source)!r}",
                "leave it out",
            )
        return _SCHEMES[scheme](rest, wishes)
    return _load_file(Path(source).expanduser(), wishes)


def _as_given(model: Classifier, wishes: _Wishes) -> Classifier:
    if wishes.preprocess or wishes.arch or wishes.classes or wishes.state_key:
        raise UserError(
            "a Classifier as it is, which has its own preprocessing and classes",
            "others beside it",
            "give them where the Classifier is made",
        )
    return model


def _load_file(path: Path, wishes: _Wishes) -> Classifier:
    """Build the network of `arch` and fill it with the weights of a file, checked in that order."""
    if not path.exists():
        raise UserError(f"a model: {FORMS}", f"{str(path)!r}, where there is nothing", "check it")
    content, form = read_checkpoint(path)
    weights, notes = find_weights(content, key=wishes.state_key, name=path.name)
    if wishes.arch is None:
        raise UserError(
            f"--arch pkg.mod:factory, the network that {path.name} holds the weights of",
            f"a state dict of {len(weights)} tensors and no --arch",
            "name a function that returns the untrained network",
        )
    module = call_factory(wishes.arch)
    if not isinstance(module, nn.Module):
        raise UserError(
            f"a torch.nn.Module from {wishes.arch}", type(module).__name__, "return the network"
        )
    notes += fill(module, weights, name=path.name, arch=wishes.arch)
    if form == "torch legacy":
        notes.append("saved in the format of PyTorch before 1.6")
    return _classifier(
        module,
        wishes,
        name=path.stem,
        sha256=digest(path),
        source=str(path),
        notes=notes,
    )


def _classifier(
    module: nn.Module,
    wishes: _Wishes,
    *,
    preprocess: Preprocess | None = None,
    notes: Sequence[str] = (),
    classes: Sequence[str] = (),
    **identity: str,
) -> Classifier:
    """Put module, wishes and what the source knows together; wishes come first."""
    chosen = wishes.preprocess or preprocess
    return Classifier(
        module,
        preprocess=chosen or Preprocess(),
        bounds=wishes.bounds,
        classes=wishes.classes or tuple(classes),
        notes=tuple(notes) if chosen else (*notes, NO_PREPROCESS),
        device=wishes.device,
        **identity,
    )


def _from_python(spec: str, wishes: _Wishes) -> Classifier:
    value = call_factory(spec)
    if isinstance(value, Classifier):
        return _as_given(value, wishes)
    if not isinstance(value, nn.Module):
        raise UserError(
            f"a torch.nn.Module or Classifier from {spec}", type(value).__name__, "return one"
        )
    return _classifier(value, wishes, name=spec.rpartition(":")[2], source=f"py:{spec}")


def _from_zoo(name: str, wishes: _Wishes) -> Classifier:
    from robustkit import zoo

    return _as_given(zoo.load_model(name), wishes)


_SCHEMES: dict[str, Callable[[str, _Wishes], Classifier]] = {
    "py": _from_python,
    "zoo": _from_zoo,
}
