"""Denoisers in files: safetensors whose header says which network the weights belong to."""

import json
from pathlib import Path

from safetensors.torch import load, save
from torch import nn

from robustkit.defenses.denoise import denoiser
from robustkit.defenses.stage import Stage
from robustkit.errors import RefusedError


def packed(name: str, network: nn.Module, channels: int) -> bytes:
    """A denoiser on the CPU, made by `denoiser(name, channels)`, as the bytes of a file."""
    weights = {key: value.detach().contiguous() for key, value in network.state_dict().items()}
    return save(weights, metadata={"denoiser": name, "channels": str(channels)})


def stage(content: bytes | str | Path, *, device: str = "cpu") -> Stage:
    """A stage of a pipeline from a file that `packed` made, or its bytes.

    It is differentiable, and an attacker follows its gradient. Raises RefusedError for any other
    file.

    >>> stage(packed("unet", denoiser("unet", 1), 1)).settings
    {'denoiser': 'unet', 'channels': 1}
    """
    data = content if isinstance(content, bytes) else Path(content).read_bytes()
    try:
        weights = load(data)
        length = int.from_bytes(data[:8], "little")
        said = json.loads(data[8 : 8 + length]).get("__metadata__", {})
        name, channels = said["denoiser"], int(said["channels"])
        network = denoiser(name, channels)
        network.load_state_dict(weights)
    except Exception as error:
        raise RefusedError(
            "a denoiser that robustkit harden --denoiser wrote",
            f"{type(error).__name__}: {error}",
            "give its hardened.safetensors",
        ) from error
    network.eval().requires_grad_(False).to(device)
    return Stage("denoiser", network, settings={"denoiser": name, "channels": channels})
