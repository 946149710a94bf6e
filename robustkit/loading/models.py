"""From a file or a name to a Classifier."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from robustkit.errors import UserError
from robustkit.loading.endpoint import NOTE, Endpoint, Service, public
from robustkit.loading.factory import call_factory, split_query
from robustkit.loading.files import Reading, from_file
from robustkit.loading.hubs import Found, from_hugging_face, from_timm, from_torchvision
from robustkit.loading.onnx_graph import from_onnx
from robustkit.loading.sniff import sniff
from robustkit.loading.trust import NOTHING, Trust
from robustkit.model import Classifier
from robustkit.preprocess import Preprocess

FORMS = (
    "a file of weights, zoo:NAME, torchvision:NAME, timm:NAME, hf:ORG/NAME, "
    "onnx:FILE, py:pkg.mod:factory or http://HOST:PORT/PATH"
)
ADDRESSES = ("http", "https")
WEIGHTS = (".pt", ".pth", ".ckpt", ".safetensors", ".bin", ".onnx", ".pt2", ".zip")
NO_PREPROCESS = "no preprocessing was given: pixels in [0, 1] go straight into the network"


@dataclass(frozen=True)
class _Wishes:
    """What the caller said about the model; None and empty mean: take it from the source."""

    preprocess: Preprocess | None
    bounds: tuple[float, float]
    classes: Sequence[str]
    device: str | torch.device


def load(  # noqa: PLR0913 - each is a fact of the model, named at the call
    source: str | Path | nn.Module | Classifier,
    *,
    arch: str | None = None,
    preprocess: str | Preprocess | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    classes: Sequence[str] = (),
    device: str | torch.device = "cpu",
    state_key: str | None = None,
    prefix: str | None = None,
    trust: Trust = NOTHING,
    service: Service | None = None,
) -> Classifier:
    """Load a classifier from a file, a name with a scheme, or a module.

    A file holds weights: safetensors, or a state dict that `torch.save` wrote, bare or wrapped
    (`state_key` says where, if it is not one of the usual places; `prefix` goes from their names).
    `arch` names the factory of its network, `pkg.mod:factory` or `file.py:factory`; the weights
    must fit it exactly. Schemes bring
    network and preprocessing along: `zoo:NAME`, `torchvision:NAME`, `timm:NAME`, `hf:ORG/NAME`,
    `py:pkg.mod:factory`. What was assumed or taken away is in the `notes` of the result.

    An address, `http://host:port/path`, is a black box that is asked within the limits of
    `service` (`robustkit.loading.endpoint` describes how).

    No file is ever allowed to run code but by `trust`, for this one call. Raises RefusedError where
    one would or does not fit, UserError where there is no such thing, ToolError where something is
    not installed or not there.

    >>> load(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), preprocess="half").preprocess.mean
    (0.5,)
    """
    asked = Preprocess.parse(preprocess) if isinstance(preprocess, str) else preprocess
    wishes = _Wishes(asked, bounds, tuple(classes), device)
    if isinstance(source, Classifier):
        return _as_given(source, wishes)
    if isinstance(source, nn.Module):
        return _classifier(Found(source, type(source).__name__), wishes)
    reading = Reading(arch, state_key, prefix, trust)
    scheme, colon, _ = str(source).partition(":")
    if colon and scheme in (*_SCHEMES, "onnx", *ADDRESSES):
        if reading.given:
            raise UserError(
                f"--arch and a state key with a file only, as {scheme}: brings its own network",
                f"{reading.given!r} with {str(source)!r}",
                "leave it out",
            )
        found = _named(str(source), trust, service)
    else:
        found = _from_path(Path(source).expanduser(), reading)
    return _as_given(found, wishes) if isinstance(found, Classifier) else _classifier(found, wishes)


def _as_given(model: Classifier, wishes: _Wishes) -> Classifier:
    if wishes.preprocess or wishes.classes:
        raise UserError(
            "a Classifier as it is, which has its own preprocessing and classes",
            "others beside it",
            "give them where the Classifier is made",
        )
    if torch.device(wishes.device) == model.device:
        return model
    return model.on(wishes.device)


def _classifier(found: Found, wishes: _Wishes) -> Classifier:
    """Put together what the source knows and what the caller wishes; wishes come first."""
    chosen = wishes.preprocess or found.preprocess
    return Classifier(
        found.module,
        preprocess=chosen,
        bounds=wishes.bounds,
        name=found.name,
        sha256=found.sha256,
        source=found.source,
        classes=wishes.classes or found.classes,
        notes=found.notes
        if chosen or found.access != "white-box"
        else (*found.notes, NO_PREPROCESS),
        access=found.access,
        device=wishes.device,
    )


def _from_path(path: Path, reading: Reading) -> Found:
    if not path.exists():
        raise UserError(
            f"a model: {FORMS}", f"{str(path)!r}, where there is nothing", "check the path"
        )
    # An ONNX file is a network by itself.
    if not reading.given and sniff(path) == "onnx":
        return from_onnx(path, reading.trust)
    return from_file(path, reading)


def _named(source: str, trust: Trust, service: Service | None) -> Found | Classifier:
    """The model behind `SCHEME:NAME` or an address."""
    scheme, _, rest = source.partition(":")
    if scheme in ADDRESSES:
        return _from_address(source, service)
    return _from_onnx(rest, trust) if scheme == "onnx" else _SCHEMES[scheme](rest)


def _from_python(spec: str) -> Found | Classifier:
    value = call_factory(spec)
    if isinstance(value, Classifier):
        return value
    if not isinstance(value, nn.Module):
        raise UserError(
            f"a torch.nn.Module or Classifier from {spec}", type(value).__name__, "return one"
        )
    return Found(value, split_query(spec)[0].rpartition(":")[2], f"py:{spec}")


def _from_address(address: str, service: Service | None) -> Found:
    module = Endpoint(address, service)
    if module.address.path.endswith(WEIGHTS):
        raise UserError(
            f"a model: {FORMS}", f"{address!r}, a file to download", "download it, give the file"
        )
    shown = public(module.address)
    where = f"asked at {shown}; what answers there can change without a trace"
    return Found(module, module.address.netloc, shown, notes=[where, NOTE], access="scores")


def _from_zoo(name: str) -> Classifier:
    from robustkit import zoo

    return zoo.load_model(name)


def _from_onnx(name: str, trust: Trust) -> Found:
    path = Path(name).expanduser()
    if not path.is_file():
        raise UserError("an ONNX file", f"{name!r}, where there is none", "check the path")
    return from_onnx(path, trust)


_SCHEMES: dict[str, Callable[[str], Found | Classifier]] = {
    "py": _from_python,
    "zoo": _from_zoo,
    "torchvision": from_torchvision,
    "timm": from_timm,
    "hf": from_hugging_face,
}
