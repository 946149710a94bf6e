"""Files that may run code, read in a process of their own that hands back plain tensors.

The child has limits on memory, time and file size, an empty folder to work in, and few environment
variables. That keeps accidents small; it is no sandbox, and a file that means harm can do it.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robustkit.errors import RefusedError
from robustkit.loading.checkpoint import metadata, read_restricted, read_safetensors
from robustkit.loading.factory import find_object
from robustkit.loading.state_dict import Weights, find_weights
from robustkit.loading.trust import Risk

SECONDS = 900
"""How long the child may take."""
MEMORY = 64 * 2**30
"""How much address space it may use; PyTorch alone reserves many times what it needs."""
KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT", "OMP_NUM_THREADS")
"""The environment variables that it sees: no keys, tokens or proxies."""


def read_isolated(
    path: Path, risk: Risk, *, classes: Sequence[str] = (), key: str | None = None
) -> tuple[Weights, list[str]]:
    """The weights in a file whose reading may run code, and notes; the code runs in a child.

    `key` says where the weights are in what the file holds. Raises RefusedError where the child
    fails, with its last words.
    """
    with tempfile.TemporaryDirectory(prefix="robustkit-") as folder:
        out = Path(folder) / "weights.safetensors"
        request = {"path": str(path.resolve()), "risk": risk, "classes": list(classes), "key": key}
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        environment |= {"HOME": folder, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])}
        command = [sys.executable, "-m", __name__, json.dumps(request), str(out)]
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, timeout=SECONDS, check=False,
                stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise _failed(path, f"nothing for {SECONDS} s") from None
        if done.returncode or not out.exists():
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise _failed(path, lines[-1][:300])
        return read_safetensors(out), json.loads(metadata(out)["notes"])


def _failed(path: Path, said: str) -> RefusedError:
    return RefusedError(
        "weights from the process that reads the file",
        f"from {path.name}: {said}",
        "load it where it was made and save the weights alone, with torch.save or safetensors",
    )


def weights_of(content: Any, *, key: str | None, name: str) -> tuple[Weights, list[str]]:
    """The weights in unpickled `content`: of a module, a state dict, or a wrapper around either."""
    from torch import nn

    if isinstance(content, nn.Module):
        return content.state_dict(), [f"weights of a whole {type(content).__name__}"]
    if isinstance(content, Mapping):
        content = {
            at: part.state_dict() if isinstance(part, nn.Module) else part
            for at, part in content.items()
        }
    return find_weights(content, key=key, name=name)


def _main(request: str, out: str) -> None:
    """The child: read, take the weights, write them."""
    import warnings

    from safetensors.torch import save_file

    wanted = json.loads(request)
    path = Path(wanted["path"])
    _limit(path.stat().st_size)
    warnings.simplefilter("ignore")
    weights, notes = _read(path, wanted["risk"], wanted["classes"], wanted["key"])
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    save_file(plain, out, {"notes": json.dumps(notes)})


def _read(
    path: Path, risk: Risk, classes: Sequence[str], key: str | None
) -> tuple[Weights, list[str]]:
    import torch

    if risk == "torchscript":
        return torch.jit.load(str(path), map_location="cpu").state_dict(), []
    if risk == "pt2":
        return dict(torch.export.load(path).state_dict), []
    if risk == "classes":
        trusted = [find_object(name) for name in classes]
        return weights_of(read_restricted(path, trusted=trusted), key=key, name=path.name)
    with path.open("rb") as file:
        content = torch.load(file, map_location="cpu", weights_only=False)
    return weights_of(content, key=key, name=path.name)


def _limit(size: int) -> None:
    """Bound what the child may use; systems without such limits have none."""
    try:
        import resource
    except ImportError:
        return
    for kind, most in (
        (resource.RLIMIT_AS, MEMORY + 8 * size),
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_FSIZE, 4 * size + 2**30),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (bound, hard))


if __name__ == "__main__":
    _main(*sys.argv[1:])
