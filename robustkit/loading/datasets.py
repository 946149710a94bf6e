"""From a file, a folder or a name to samples."""

import inspect
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from robustkit.errors import RefusedError, ToolError, UserError
from robustkit.loading.arrays import of_pair, read_npz
from robustkit.loading.extras import need
from robustkit.loading.factory import call_factory, split_query
from robustkit.loading.folder import of_pictures, read_folder
from robustkit.loading.samples import Samples

FORMS = (
    "a folder of class folders, an .npz, zoo:NAME, torchvision:NAME, hf:NAME or py:pkg.mod:factory"
)


def open_samples(
    spec: str | Path | tuple[Any, Any] | Samples, *, samples: int | None = None
) -> Samples:
    """Open a data set and take its first `samples`, or all of them.

    `spec` is a path to an `.npz` or to a folder of class folders, a name with a scheme, a pair
    `(x, y)` or samples. Nothing is downloaded unless the name says `?download=1`.

    Raises UserError where there is no such thing, RefusedError where its content cannot be audited,
    ToolError where something must be installed or downloaded first.

    >>> import torch
    >>> len(open_samples((torch.rand(5, 3, 4, 4), torch.arange(5)), samples=3))
    3
    """
    if samples is not None and samples < 1:
        raise UserError("at least one sample", str(samples), "give a positive number of samples")
    if isinstance(spec, Samples):
        return spec.take(samples)
    if isinstance(spec, tuple):
        return of_pair(*_pair(spec, "the pair given"), name="arrays").take(samples)
    scheme, colon, rest = str(spec).partition(":")
    if colon and scheme in _SCHEMES:
        return _SCHEMES[scheme](rest, samples)
    return _open_path(Path(spec).expanduser(), samples)


def _open_path(path: Path, samples: int | None) -> Samples:
    if path.is_dir():
        return read_folder(path, samples=samples)
    if not path.exists():
        raise UserError(
            f"data: {FORMS}", f"{str(path)!r}, where there is nothing", "check the path"
        )
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] != b"PK":
        raise RefusedError(
            "an .npz, or a folder of class folders",
            f"{path.name}, which is no zip archive" if start else f"{path.name}, which is empty",
            "save the pictures and labels with numpy.savez(path, x=pictures, y=labels)",
        )
    return read_npz(path, samples=samples)


def _pair(value: Any, source: str) -> tuple[Any, Any]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise UserError("a pair (x, y)", f"{type(value).__name__} from {source}", "return (x, y)")
    return value[0], value[1]


def _from_python(spec: str, samples: int | None) -> Samples:
    value = call_factory(spec)
    if isinstance(value, Samples):
        return value.take(samples)
    return of_pair(*_pair(value, spec), name=f"py:{spec}").take(samples)


def _from_zoo(name: str, samples: int | None) -> Samples:
    from robustkit import zoo

    return zoo.load_samples(name).take(samples)


def data_root() -> Path:
    """Where torchvision's data sets are looked for: ROBUSTKIT_DATA, or a folder in the cache."""
    root = os.environ.get("ROBUSTKIT_DATA")
    return Path(root).expanduser() if root else Path.home() / ".cache" / "torch" / "datasets"


def _from_torchvision(spec: str, samples: int | None) -> Samples:
    """The test split of `torchvision.datasets.NAME`; other options are passed to its class."""
    datasets = need("torchvision.datasets", why=f"torchvision:{spec}")
    name, options = split_query(spec)
    kind = getattr(datasets, name, None)
    if name not in datasets.__all__ or kind is None:
        raise UserError(
            "a data set of torchvision.datasets", repr(name), "try CIFAR10, MNIST, GTSRB or SVHN"
        )
    parameters = inspect.signature(kind).parameters
    if "train" in parameters:
        options.setdefault("train", False)
    elif "split" in parameters:
        options.setdefault("split", "test")
    download = bool(options.pop("download", False))
    if "download" in parameters:
        options["download"] = download
    root = data_root()
    try:
        dataset = kind(root=str(root), **options)
    except (RuntimeError, OSError) as error:
        raise ToolError(
            f"{name} in {root}",
            f"nothing complete there ({error})",
            f"copy it there, point ROBUSTKIT_DATA at it, or write torchvision:{name}?download=1",
        ) from None
    except (TypeError, ValueError) as error:
        raise UserError(
            f"options that torchvision.datasets.{name} knows", f"{error}", "write ?split=test"
        ) from None
    classes = getattr(dataset, "classes", ())
    return of_pictures(
        (dataset[index] for index in range(len(dataset))),
        samples=samples,
        classes=[str(one) for one in classes],
        name=f"torchvision:{name}",
    )


def _from_hub(spec: str, samples: int | None) -> Samples:
    """A data set of the Hugging Face hub: `NAME?split=test&image=COLUMN&label=COLUMN`."""
    datasets = need("datasets", why=f"hf:{spec}")
    name, options = split_query(spec)
    columns = options.pop("image", None), options.pop("label", None)
    try:
        dataset = datasets.load_dataset(name, split=options.pop("split", "test"), **options)
    except Exception as error:  # noqa: BLE001 - a hub client raises whatever its network stack does
        raise ToolError(
            f"{name} from the Hugging Face hub or its cache",
            f"{type(error).__name__}: {error}",
            "check the name and the network, or fill the cache on a machine that has one",
        ) from None
    image, label = _columns(dataset.features, columns, name)
    names = getattr(dataset.features[label], "names", None) or ()
    return of_pictures(
        _rows(dataset, image, label), samples=samples, classes=list(names), name=f"hf:{name}"
    )


def _columns(
    features: dict[str, Any], asked: tuple[str | None, str | None], name: str
) -> tuple[str, str]:
    """The columns with the picture and the label: those asked for, or the first of their kind."""
    kinds = {column: type(feature).__name__ for column, feature in features.items()}
    found = []
    for column, kind, option in zip(
        asked, ("Image", "ClassLabel"), ("image", "label"), strict=True
    ):
        of_kind = [column] if column in kinds else [c for c in kinds if kinds[c] == kind]
        if not of_kind or (column is not None and column not in kinds):
            raise UserError(
                f"a column of kind {kind} in {name}",
                f"{kinds}",
                f"name it: hf:{name}?{option}=COLUMN",
            )
        found.append(of_kind[0])
    return found[0], found[1]


def _rows(dataset: Any, image: str, label: str) -> Iterator[tuple[Any, int]]:
    for row in dataset:
        yield row[image], row[label]


_SCHEMES: dict[str, Callable[[str, int | None], Samples]] = {
    "py": _from_python,
    "zoo": _from_zoo,
    "torchvision": _from_torchvision,
    "hf": _from_hub,
}
