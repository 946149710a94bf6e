"""From a file or a name to a Detector."""

import warnings
from pathlib import Path

import torch
from torch import nn

from robustkit.detector import KINDS, Detector
from robustkit.errors import UserError
from robustkit.loading.checkpoint import digest, restricted
from robustkit.loading.extras import need
from robustkit.loading.factory import call_factory, split_query
from robustkit.loading.files import Reading, from_file
from robustkit.loading.hubs import Found, hub_file, unknown
from robustkit.loading.trust import NOTHING, Trust

FORMS = "a file of weights with --arch, torchvision:NAME or py:pkg.mod:factory"


def load_detector(
    source: str | Path | nn.Module,
    *,
    arch: str | None = None,
    state_key: str | None = None,
    prefix: str | None = None,
    trust: Trust = NOTHING,
    device: str | torch.device = "cpu",
) -> Detector:
    """Load a detector of torchvision's making: Faster R-CNN, RetinaNet, FCOS, SSD, SSDLite.

    `torchvision:NAME[?weights=DEFAULT|NAME|none]` and `py:pkg.mod:factory` bring the network along;
    a file holds weights for the network of the factory `arch`. Files are read as those of
    classifiers are, and may run nothing. Raises RefusedError for a network that is no detector.

    >>> load_detector("torchvision:ssdlite320_mobilenet_v3_large?weights=none").name
    'ssdlite320_mobilenet_v3_large'
    """
    if isinstance(source, nn.Module):
        found = Found(source, type(source).__name__)
    else:
        scheme, _, rest = str(source).partition(":")
        if scheme in ("torchvision", "py") and rest:
            found = _from_torchvision(rest) if scheme == "torchvision" else _from_python(rest)
        else:
            found = _from_path(Path(source).expanduser(), Reading(arch, state_key, prefix, trust))
    return Detector(
        found.module,
        name=found.name,
        sha256=found.sha256,
        source=found.source,
        classes=found.classes,
        notes=found.notes,
        device=device,
    )


def _from_path(path: Path, reading: Reading) -> Found:
    if not path.is_file():
        raise UserError(
            f"a detector ({KINDS}): {FORMS}",
            f"{str(path)!r}, where there is no file",
            "write for example torchvision:fasterrcnn_resnet50_fpn",
        )
    return from_file(path, reading)


def _from_python(spec: str) -> Found:
    module = call_factory(spec)
    if not isinstance(module, nn.Module):
        raise UserError(f"a torch.nn.Module from {spec}", type(module).__name__, "return one")
    return Found(module, split_query(spec)[0].rpartition(":")[2], f"py:{spec}")


def _from_torchvision(spec: str) -> Found:
    models = need("torchvision.models", why=f"torchvision:{spec}")
    name, options = split_query(spec)
    known = models.list_models(module=models.detection)
    if name not in known:
        raise unknown(name, known, f"a detector of torchvision ({KINDS})")
    wanted = str(options.pop("weights", "DEFAULT"))
    kinds = models.get_model_weights(name)
    random = wanted.lower() == "none"
    if not random and wanted not in kinds.__members__:
        raise unknown(wanted, ["none", *kinds.__members__], f"weights of torchvision's {name}")
    weights = None if random else kinds[wanted]
    sha256 = "" if weights is None else digest(hub_file(weights.url, name))
    with restricted(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of initialisations that are about to be overwritten
        module = models.get_model(name, weights=weights, **{"weights_backbone": None, **options})
    return Found(
        module,
        name,
        f"torchvision:{spec}",
        classes=() if weights is None else tuple(weights.meta["categories"]),
        notes=["random weights, as asked for"] if weights is None else [f"weights {weights}"],
        sha256=sha256,
    )
