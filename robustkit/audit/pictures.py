"""Flips worth showing: a few adversarial pictures of every unit, and the triptychs of the best."""

import hashlib
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor

from robustkit.atomic import write_bytes
from robustkit.audit.attacking import Result
from robustkit.audit.saliency import sensitivity
from robustkit.audit.standing import Clean, Standing
from robustkit.errors import ToolError
from robustkit.loading.samples import Samples
from robustkit.model import Classifier
from robustkit.records import Example

KEPT_A_UNIT = 8
SHOWN = 8
SMALLEST_SIDE = 112
GAP = 128

Pixels = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]


class Pictures:
    """Adversarial pictures by (threat and attack, sample): in the run directory, or in memory."""

    def __init__(self, folder: Path | None) -> None:
        """Keep pictures below `folder`, or in memory where there is none."""
        self._folder = folder / "units" if folder else None
        self._memory: dict[str, dict[str, Tensor]] = {}

    def keep(self, unit: str, rows: Tensor, result: Result) -> None:
        """Keep the most confident flips of a unit."""
        order = (result.confidence * result.fooled).argsort(descending=True)
        best = order[: min(KEPT_A_UNIT, int(result.fooled.sum()))]
        if not len(best):
            return
        kept = {"rows": rows[best].contiguous(), "x_adv": result.x_adv[best].contiguous()}
        if self._folder is None:
            self._memory[unit] = kept
        else:
            write_bytes(self._folder / _name(unit), save(kept))

    def of(self, unit: str) -> dict[int, Tensor]:
        """The pictures `[C,H,W]` kept of a unit, by sample."""
        kept = self._memory.get(unit)
        if self._folder and (self._folder / _name(unit)).exists():
            kept = load_file(self._folder / _name(unit))
        if kept is None:
            return {}
        return dict(zip(kept["rows"].tolist(), kept["x_adv"], strict=True))


def examples(
    pictures: Pictures,
    units: list[str],
    *,
    standing: Standing,
    samples: Samples,
    clean: Clean,
    folder: Path,
    model: Classifier,
) -> list[Example]:
    """Write the most telling flips of a threat as triptychs into `folder/examples`.

    Beside each lies where the model looked, if it can be seen. The model must be frozen.
    """
    found: dict[int, Tensor] = {}
    for unit in units:
        attack = unit.split("|")[1]
        kept = pictures.of(unit).items()
        found |= {row: x_adv for row, x_adv in kept if standing.attack[row] == attack}
    shown = []
    for row in _telling(found, standing, samples, clean):
        name = f"examples/{standing.threat.replace(':', '-').replace('/', '_')}-{row}"
        x = samples.pixels([row])[0]
        write_bytes(folder / f"{name}.png", triptych(x, found[row]))
        seen = model.access == "white-box"
        if seen:
            write_bytes(folder / f"{name}-looked.png", looked(model, x, found[row]))
        shown.append(
            Example(
                threat=standing.threat,
                index=row,
                id=samples.ids[row],
                label=int(samples.y[row]),
                clean_prediction=int(clean.prediction[row]),
                clean_confidence=float(clean.confidence[row]),
                prediction=int(standing.prediction[row]),
                confidence=float(standing.confidence[row]),
                attack=standing.attack[row],
                size=float(standing.size[row]),
                picture=f"{name}.png",
                saliency=f"{name}-looked.png" if seen else "",
            )
        )
    return shown


def _telling(
    found: dict[int, Tensor], standing: Standing, samples: Samples, clean: Clean
) -> list[int]:
    """The flips to show: confident before and after, one of each class first."""
    ranked = sorted(found, key=lambda row: -float(standing.confidence[row] * clean.confidence[row]))
    seen: dict[int, int] = {}
    turns = {}
    for row in ranked:
        label = int(samples.y[row])
        turns[row] = seen.setdefault(label, 0)
        seen[label] += 1
    ranked.sort(key=lambda row: turns[row])
    return ranked[:SHOWN]


def triptych(x: Tensor, x_adv: Tensor) -> bytes:
    """Picture, magnified noise (grey is none), attacked picture, side by side: a PNG's bytes.

    `x`, `x_adv` are `[C,H,W]` in [0, 1] with 1, 3 or 4 channels; others show their mean.
    """
    noise = x_adv - x
    scale = float(noise.abs().max().clamp_min(1e-9))
    return strip([to_pixels(panel) for panel in (x, 0.5 + 0.5 * noise / scale, x_adv)])


def looked(model: Classifier, x: Tensor, x_adv: Tensor) -> bytes:
    """A PNG with both pictures under what the model is sensitive to: dim where nothing matters."""
    return strip([_shaded(picture, sensitivity(model, picture)) for picture in (x, x_adv)])


def _shaded(x: Tensor, heat: Tensor) -> Pixels:
    """The picture in grey, darkened, with the heat in orange on top."""
    grey = to_pixels(x).astype(np.float32).mean(2, keepdims=True) / 255
    warm = heat.numpy()[..., None]
    shaded = 0.45 * grey * (1 - warm) + warm * np.array([1.0, 0.55, 0.1], np.float32)
    pixels: Pixels = (shaded.clip(0, 1) * 255).round().astype(np.uint8)
    return pixels


def strip(panels: list[Pixels]) -> bytes:
    """Panels of one size side by side as a PNG, each small pixel drawn as a square."""
    factor = max(1, -(-SMALLEST_SIDE // panels[0].shape[0]))
    large = [panel.repeat(factor, 0).repeat(factor, 1) for panel in panels]
    gap = np.full((large[0].shape[0], 6, 3), GAP, np.uint8)
    parts = [part for panel in large for part in (gap, panel)][1:]
    return _png(np.concatenate(parts, axis=1))


def to_pixels(x: Tensor) -> Pixels:
    """A picture `[C,H,W]` in [0, 1] as 8-bit RGB `[H,W,3]`."""
    if x.shape[0] not in (1, 3, 4):
        x = x.mean(0, keepdim=True)
    rgb = x[:3].expand(3, -1, -1) if x.shape[0] == 1 else x[:3]
    array: Pixels = (rgb.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return array


def _png(pixels: Pixels) -> bytes:
    buffer = BytesIO()
    try:
        Image.fromarray(pixels).save(buffer, "PNG")
    except OSError as error:
        raise ToolError("a PNG encoder", str(error), "reinstall pillow") from error
    return buffer.getvalue()


def _name(unit: str) -> str:
    return hashlib.sha256(unit.encode()).hexdigest()[:16] + ".safetensors"
