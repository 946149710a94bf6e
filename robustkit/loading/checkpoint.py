"""Reading a file of weights without running anything that came with it."""

import hashlib
import os
import re
import warnings
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch.serialization import safe_globals

from robustkit.errors import RefusedError
from robustkit.loading.scan import check_pickles
from robustkit.loading.sniff import PICKLES, Form, refuse_form

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def read_checkpoint(path: Path, form: Form) -> Any:
    """What the file at `path`, of this form, holds, on the CPU.

    Pickles are walked first, and one that would call anything but the rebuilding of tensors is
    refused; then they go through PyTorch's restricted loader. Raises RefusedError for every other
    form, each with its own reason.
    """
    if form == "safetensors":
        return read_safetensors(path)
    if form not in PICKLES:
        raise refuse_form(form, path)
    check_pickles(path, form)
    return read_restricted(path)


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, on the CPU."""
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise _damaged(path, error) from None


def read_restricted(path: Path, *, device: str = "cpu", trusted: Sequence[type] = ()) -> Any:
    """Read a pickled checkpoint through the restricted loader; on "meta" only names and shapes.

    Objects of `trusted` classes may be made as well.
    """
    try:
        with warnings.catch_warnings(), restricted(), safe_globals([*_settings(), *trusted]):
            warnings.simplefilter("ignore")  # of old storage types: nothing the user can change
            # Given a path, newer versions of PyTorch go by its extension.
            with path.open("rb") as file:
                return torch.load(file, map_location=device, weights_only=True)
    except Exception as error:  # noqa: BLE001 - broken bytes make it raise nearly anything
        raise _damaged(path, error) from None


def _settings() -> list[Any]:
    """What training scripts save beside the weights and is harmless: settings and numbers."""
    scalar = type(np.float64(0)).__reduce__(np.float64(0))[0]
    kinds = [type(np.dtype(name)) for name in ("f2", "f4", "f8", "i4", "i8", "u1", "?")]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [Namespace, np.dtype, *kinds, *((scalar, name) for name in names)]


@contextmanager
def restricted() -> Iterator[None]:
    """Make every `torch.load` in this process restricted for a while, other libraries' too."""
    names = ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
    before = {name: os.environ.pop(name, None) for name in names}
    os.environ[names[0]] = "1"
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def metadata(path: Path) -> dict[str, str]:
    """The metadata in the header of a safetensors file."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from None


def digest(path: Path) -> str:
    """The sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damaged(path: Path, error: Exception) -> RefusedError:
    first = _COLOUR.sub("", str(error)).strip().split("\n")[0].split(". ")[0]
    return RefusedError(
        "a complete file of weights",
        f"{path.name}, which cannot be read ({type(error).__name__}: {first or 'it ends early'})",
        "copy or download it again, and compare its size; or save the state dict anew",
    )
