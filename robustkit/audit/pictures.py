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
from robustkit.audit.standing import Clean, Standing
from robustkit.errors import ToolError
from robustkit.loading.samples import Samples
from robustkit.records import Example

KEPT_A_UNIT = 8
SHOWN = 8
SMALLEST_SIDE = 112


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
) -> list[Example]:
    """Write the most telling flips of a threat as triptychs into `folder/examples`.

    Most telling: confident before and after, one picture a class first.
    """
    found: dict[int, Tensor] = {}
    for unit in units:
        attack = unit.split("|")[1]
        kept = pictures.of(unit).items()
        found |= {row: x_adv for row, x_adv in kept if standing.attack[row] == attack}
    ranked = sorted(found, key=lambda row: -float(standing.confidence[row] * clean.confidence[row]))
    seen: dict[int, int] = {}
    turns = {}
    for row in ranked:
        label = int(samples.y[row])
        turns[row] = seen.setdefault(label, 0)
        seen[label] += 1
    ranked.sort(key=lambda row: turns[row])
    shown = []
    for row in ranked[:SHOWN]:
        name = f"examples/{standing.threat.replace(':', '-').replace('/', '_')}-{row}.png"
        x = samples.pixels([row])[0]
        write_bytes(folder / name, triptych(x, found[row]))
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
                picture=name,
            )
        )
    return shown


def triptych(x: Tensor, x_adv: Tensor) -> bytes:
    """Picture, magnified noise (grey is none), attacked picture, side by side: a PNG's bytes.

    `x`, `x_adv` are `[C,H,W]` in [0, 1] with 1, 3 or 4 channels; others show their mean.
    """
    noise = x_adv - x
    scale = float(noise.abs().max().clamp_min(1e-9))
    panels = [_pixels(panel) for panel in (x, 0.5 + 0.5 * noise / scale, x_adv)]
    factor = max(1, -(-SMALLEST_SIDE // panels[0].shape[0]))
    panels = [panel.repeat(factor, 0).repeat(factor, 1) for panel in panels]
    gap = np.full((panels[0].shape[0], 6, 3), 255, np.uint8)
    row = np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1)
    return _png(row)


def _pixels(x: Tensor) -> "np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]":
    if x.shape[0] not in (1, 3, 4):
        x = x.mean(0, keepdim=True)
    rgb = x[:3].expand(3, -1, -1) if x.shape[0] == 1 else x[:3]
    array: np.ndarray[tuple[int, int, int], np.dtype[np.uint8]] = (
        (rgb.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    )
    return array


def _png(pixels: "np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]") -> bytes:

    buffer = BytesIO()
    try:
        Image.fromarray(pixels).save(buffer, "PNG")
    except OSError as error:
        raise ToolError("a PNG encoder", str(error), "reinstall pillow") from error
    return buffer.getvalue()


def _name(unit: str) -> str:
    return hashlib.sha256(unit.encode()).hexdigest()[:16] + ".safetensors"
