"""Models by name: torchvision, timm and Hugging Face, with the preprocessing they were trained on.

The libraries are imported on use. Their own loaders run with PyTorch's restricted unpickler forced
on, files that they would read are walked first, and no code of a repository is ever run.
"""

import difflib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustkit.errors import RefusedError, RobustkitError, ToolError, UserError
from robustkit.loading.checkpoint import digest, restricted
from robustkit.loading.extras import need
from robustkit.loading.factory import split_query
from robustkit.loading.scan import check_pickles
from robustkit.loading.sniff import PICKLES, refuse_form, sniff
from robustkit.model import Access
from robustkit.preprocess import Preprocess


@dataclass(frozen=True)
class Found:
    """A network and what its source knows about it; `preprocess` is None where it knows nothing."""

    module: nn.Module
    name: str
    source: str = ""
    preprocess: Preprocess | None = None
    classes: Sequence[str] = ()
    notes: Sequence[str] = ()
    sha256: str = ""
    access: Access = "white-box"


def from_torchvision(spec: str) -> Found:
    """`torchvision:NAME[?weights=DEFAULT|NAME|none]`, with the weights' own mean, std and size.

    Weights are looked for where torch.hub keeps them (TORCH_HOME) and downloaded otherwise. With
    `weights=none` the network is random, and the preprocessing is that of its default weights.
    """
    models = need("torchvision.models", why=f"torchvision:{spec}")
    name, options = split_query(spec)
    known = models.list_models(module=models)
    if name not in known:
        raise unknown(name, known, "an image classifier of torchvision")
    wanted = str(options.pop("weights", "DEFAULT"))
    kinds = models.get_model_weights(name)
    if wanted.lower() != "none" and wanted not in kinds.__members__:
        raise unknown(wanted, ["none", *kinds.__members__], f"weights of torchvision's {name}")
    random = wanted.lower() == "none"
    weights = kinds.DEFAULT if random else kinds[wanted]
    sha256 = "" if random else digest(hub_file(weights.url, name))
    with restricted(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of initialisations that are about to be overwritten
        module = models.get_model(name, weights=None if random else weights, **options)
    transforms = weights.transforms()
    return Found(
        module,
        name,
        f"torchvision:{spec}",
        _preprocess(f"torchvision:{name}", transforms.mean, transforms.std, transforms.crop_size),
        () if random else tuple(weights.meta["categories"]),
        ["random weights, as asked for"] if random else [f"weights {weights}"],
        sha256,
    )


def hub_file(url: str, name: str) -> Path:
    """The file in torch.hub's cache that `url` is kept in, downloaded if need be, and checked."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / url.rpartition("/")[2]
    if not path.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            checked = torch.hub.HASH_REGEX.search(path.name)
            prefix = checked.group(1) if checked else None
            torch.hub.download_url_to_file(url, str(path), prefix, progress=False)
        except (OSError, RuntimeError) as error:
            raise ToolError(
                f"the weights of {name} at {path}, or a network to download them",
                f"{type(error).__name__}: {error}",
                f"put {path.name} into {folder}, or write torchvision:{name}?weights=none",
            ) from None
    _check_file(path)
    return path


def _check_file(path: Path) -> None:
    """Refuse a file of a library's cache or folder that is anything but weights."""
    form = sniff(path)
    if form in PICKLES:
        check_pickles(path, form)
    elif form != "safetensors":
        raise refuse_form(form, path)


def from_timm(spec: str) -> Found:
    """`timm:NAME[?weights=none][&num_classes=...]`, with timm's own data configuration."""
    timm = need("timm", why=f"timm:{spec}")
    name, options = split_query(spec)
    random = str(options.pop("weights", "")).lower() == "none"
    if not timm.is_model(name.partition(".")[0]):
        raise unknown(name, timm.list_models(), "a model of timm")
    try:
        with restricted():
            module = timm.create_model(name, pretrained=not random, **options)
    except RobustkitError:
        raise
    except Exception as error:  # noqa: BLE001 - what a network stack raises is anybody's guess
        raise _not_there(name, "timm", error, f"timm:{name}?weights=none") from None
    data = need("timm.data", why="timm").resolve_model_data_config(module)
    return Found(
        module,
        name,
        f"timm:{spec}",
        _preprocess(f"timm:{name}", data["mean"], data["std"], data["input_size"][1:]),
        notes=["random weights, as asked for"] if random else [],
    )


class LogitsOnly(nn.Module):
    """A Hugging Face classifier that answers with its logits alone."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Logits `[B, K]` for the model's own input `[B, C, H, W]`."""
        logits: Tensor = self.inner(pixel_values=x).logits
        return logits


def from_hugging_face(spec: str) -> Found:
    """`hf:ORG/NAME[@REVISION]` or `hf:./FOLDER`; mean, std and size are those of its processor.

    A repository that needs its own code is refused by `transformers`, and stays refused.
    """
    transformers = need("transformers", why=f"hf:{spec}")
    name, _, revision = spec.partition("@")
    folder = Path(name).expanduser()
    local = folder.is_dir()
    if not local and name.startswith((".", "/", "~")):
        raise UserError("a folder with a config.json", f"{name!r}, where there is none", "check it")
    where: dict[str, Any] = {"trust_remote_code": False, "local_files_only": local}
    if local:
        for path in sorted(folder.glob("*.bin")):
            _check_file(path)
        name = str(folder)
    elif revision:
        where["revision"] = revision
    kind = transformers.AutoModelForImageClassification
    try:
        with restricted():
            module = kind.from_pretrained(name, weights_only=True, **where)
            processor = transformers.AutoImageProcessor.from_pretrained(name, **where)
    except Exception as error:  # noqa: BLE001 - what a network stack raises is anybody's guess
        if "trust_remote_code" in str(error):
            raise RefusedError(
                "a model whose code is part of transformers",
                f"{spec}, which wants to run code of its own",
                "read that code, then wrap it in a factory: py:pkg.mod:factory",
            ) from None
        raise _not_there(spec, "Hugging Face", error, "hf:./FOLDER with a copy") from None
    labels = getattr(module.config, "id2label", None) or {}
    return Found(
        LogitsOnly(module),
        folder.resolve().name if local else name,
        f"hf:{spec}",
        _of_processor(processor, f"hf:{name}"),
        [str(labels[key]) for key in sorted(labels)],
    )


def _of_processor(processor: Any, name: str) -> Preprocess:
    """Mean, std and size of an image processor; its own scale of pixels is worked in."""
    mean, std = processor.image_mean or (), processor.image_std or ()
    if not getattr(processor, "do_normalize", True):
        mean, std = (), ()
    if getattr(processor, "do_rescale", True) and mean:
        scale = 255 * processor.rescale_factor  # 1 where a processor divides by 255
        mean, std = [m / scale for m in mean], [s / scale for s in std]
    size = (
        getattr(processor, "crop_size", None) if getattr(processor, "do_center_crop", 0) else None
    )
    size = size or processor.size or {}
    edge = size.get("shortest_edge")
    height, width = size.get("height", edge), size.get("width", edge)
    return _preprocess(name, mean, std, (height, width) if height and width else ())


def _preprocess(
    name: str, mean: Sequence[float], std: Sequence[float], size: Sequence[int]
) -> Preprocess:
    """A preprocessing from a library's own description of it."""
    height, width = (size[0], size[-1]) if size else (0, 0)
    return Preprocess(name, tuple(mean), tuple(std), (height, width) if height else None)


def unknown(name: str, known: Sequence[str], what: str) -> UserError:
    """The error for a name that a library does not have, with near ones that it has."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or list(known[:5])
    return UserError(what, repr(name), f"did you mean {', '.join(near)}?")


def _not_there(name: str, hub: str, error: Exception, instead: str) -> ToolError:
    return ToolError(
        f"{name} from {hub}'s cache or its hub",
        f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}",
        f"check the name and the network, or write {instead}",
    )
