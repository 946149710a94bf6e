"""Detectors as files: safetensors with a line of JSON, so that no pickle is ever read."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from robustkit.atomic import write_bytes
from robustkit.defenses.detectors import DETECTORS, Detector
from robustkit.errors import RefusedError


def save_detector(detector: Detector, path: Path) -> None:
    """Write a detector; whole or not at all."""
    about = {"name": detector.name, "layers": detector.layers, "settings": detector.settings}
    tensors = {name: value.cpu().contiguous() for name, value in detector.state_dict().items()}
    write_bytes(path, save(tensors, {"detector": json.dumps(about)}))


def load_detector(path: Path) -> Detector:
    """Read what `save_detector` wrote; raises RefusedError for any other file."""
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["detector"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        own = {name: value for name, value in tensors.items() if "." not in name}
        made = DETECTORS[about["name"]](
            own, layers=tuple(about["layers"]), settings=about["settings"]
        )
        made.load_state_dict(tensors)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise RefusedError(
            "a file that holds a detector", f"{path}: {error}", "make one with save_detector"
        ) from None
    return made.eval().requires_grad_(False)
