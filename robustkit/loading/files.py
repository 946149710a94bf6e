"""From a file of weights, and the factory of its network, to a filled network."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from robustkit.errors import RefusedError, UserError
from robustkit.loading.checkpoint import digest, read_checkpoint, read_restricted
from robustkit.loading.factory import call_factory
from robustkit.loading.hubs import Found
from robustkit.loading.isolated import read_isolated
from robustkit.loading.sniff import Form, sniff
from robustkit.loading.state_dict import Weights, fill, find_weights, strip_prefix
from robustkit.loading.trust import FLAGS, NOTHING, Risk, Trust


@dataclass(frozen=True)
class Reading:
    """How a file is to be read.

    `arch` is the factory of the network, `state_key` and `prefix` say where the weights are and
    what to take from their names, `trust` what the file may do.
    """

    arch: str | None = None
    state_key: str | None = None
    prefix: str | None = None
    trust: Trust = NOTHING

    @property
    def given(self) -> str | None:
        """What of it was given that only a file can use, in words."""
        return self.arch or self.state_key or self.prefix


def from_file(path: Path, reading: Reading) -> Found:
    """Read and check the weights of a file, then build the network of `arch` and fill it.

    A trusted file that holds a whole network needs no `arch`: the network itself is then taken,
    and runs in this process.
    """
    form = sniff(path)
    risk = reading.trust.needed(path, form)
    if risk and not reading.arch and risk != "pickle":
        return _whole(path, risk, reading.trust)
    weights, notes = _weights(path, form, risk, reading)
    if reading.prefix:
        weights, stripped = strip_prefix(weights, reading.prefix, name=path.name)
        notes = [*notes, *stripped]
    if reading.arch is None:
        raise UserError(
            f"--arch pkg.mod:factory, the network that {path.name} holds the weights of",
            f"a state dict of {len(weights)} tensors and no --arch",
            "name a function that returns the untrained network",
        )
    module = call_factory(reading.arch)
    if not isinstance(module, nn.Module):
        raise UserError(
            f"a torch.nn.Module from {reading.arch}", type(module).__name__, "return the network"
        )
    notes += fill(module, weights, name=path.name, arch=reading.arch)
    if form == "torch legacy":
        notes.append("saved in the format of PyTorch before 1.6")
    return Found(module, path.stem, str(path), notes=notes, sha256=digest(path))


def _weights(
    path: Path, form: Form, risk: Risk | None, reading: Reading
) -> tuple[Weights, list[str]]:
    key = reading.state_key
    if risk is None:
        return find_weights(read_checkpoint(path, form), key=key, name=path.name)
    weights, notes = read_isolated(path, risk, classes=reading.trust.classes, key=key)
    return weights, [_warning(risk, reading.trust, "in a child process, for its weights"), *notes]


def _whole(path: Path, risk: Risk, trust: Trust) -> Found:
    """The network that a trusted file holds; what is in it runs in this process."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that are on their way out
            module = _module(path, risk, trust)
    except RefusedError:
        raise
    except Exception as error:  # noqa: BLE001 - a file that runs may raise anything
        raise RefusedError(
            "a network in the trusted file",
            f"{type(error).__name__} from {path.name}: {(str(error).splitlines() or [''])[0]}",
            "give --arch as well, so that only its weights are taken",
        ) from None
    if not isinstance(module, nn.Module):
        raise RefusedError(
            f"a whole network in {path.name}, as there is no --arch",
            type(module).__name__,
            "add --arch pkg.mod:factory",
        )
    note = _warning(risk, trust, "in this process")
    return Found(module, path.stem, str(path), notes=[note], sha256=digest(path))


def _module(path: Path, risk: Risk, trust: Trust) -> object:
    if risk == "torchscript":
        return torch.jit.load(str(path), map_location="cpu")
    if risk == "pt2":
        return Exported(torch.export.load(path).module())
    return read_restricted(path, trusted=trust.objects())


def _warning(risk: Risk, trust: Trust, where: str) -> str:
    flag = " ".join((FLAGS[risk], *(trust.classes if risk == "classes" else ())))
    return f"UNSAFE: the file was trusted with {flag} and read {where}"


class Exported(nn.Module):
    """A network from torch.export, which is fixed in evaluation mode and refuses to be asked."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        for part in inner.modules():
            part.training = False
        self.inner = inner

    def train(self, mode: bool = True) -> "Exported":
        """Note the mode; the inner network has none."""
        self.training = mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        """The exported network's answer."""
        logits: Tensor = self.inner(x)
        return logits
