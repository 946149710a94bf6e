"""Adversarial examples of a data set: made, rounded to 8 bits, verified, written."""

import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from robustkit.atomic import write_bytes
from robustkit.attacks import build
from robustkit.audit.attacking import judged
from robustkit.audit.bout import Progress
from robustkit.audit.device import choose_batch_size, choose_device
from robustkit.audit.engine import Engine, Task
from robustkit.audit.plan import Plan
from robustkit.audit.referee import eight_bit, predict, rule
from robustkit.audit.standing import Clean
from robustkit.audit.suspicion import check_labels
from robustkit.errors import UserError
from robustkit.goal import Goal
from robustkit.loading import Samples, load, open_samples
from robustkit.model import Classifier
from robustkit.threat import ThreatModel
from robustkit.verbs.flipping import answer
from robustkit.verbs.labels import find_class, read_classes

BLOCK = 256
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class Fates(NamedTuple):
    """What became of the attacked samples: columns `[N]` of `Result`, on the host.

    `fooled` is the referee's verdict on `x_adv` `[N,C,H,W]` as it will be written.
    """

    x_adv: Tensor
    fooled: Tensor
    prediction: Tensor
    confidence: Tensor
    size: Tensor
    queries: Tensor


@dataclass(frozen=True)
class Examples:
    """The samples `rows` `[N]` that were attacked, and what came of it."""

    model: Classifier
    samples: Samples
    threat: ThreatModel
    attack: str
    clean: Clean
    rows: Tensor
    target: int | None
    fates: Fates
    rounded_off: int = 0

    @property
    def goal(self) -> Goal:
        """What each attacked sample was to become."""
        return _goal(self.samples.y[self.rows], self.target)

    def as_pictures(self) -> "Examples":
        """The examples in 8-bit pixels, verified again; what does not survive is not fooled."""
        x = self.samples.pixels(self.rows)
        x_adv = eight_bit(self.fates.x_adv, x).float().div(255)
        with self.model.frozen():
            ruling = rule(
                self.model, x_adv, x=x, goal=self.goal, threat=self.threat,
                claimed=self.fates.fooled, batch_size=_batch_size(self.model, self.samples),
            )  # fmt: skip
        fooled = ruling.fooled & self.fates.fooled
        fates = Fates(
            x_adv, fooled, ruling.prediction, ruling.confidence, ruling.size, self.fates.queries
        )
        rounded_off = int((self.fates.fooled & ~fooled).sum())
        return replace(self, fates=fates, rounded_off=rounded_off)

    def summary(self) -> dict[str, Any]:
        """How many samples became what."""
        fooled, total = int(self.fates.fooled.sum()), len(self.samples)
        wrong = int((~self.clean.right(self.samples.y)).sum())
        return {
            "model": self.model.name,
            "threat": self.threat.text,
            "attack": self.attack,
            "samples": total,
            "misclassified": wrong,
            "attacked": len(self.rows),
            "fooled": fooled + self.rounded_off,
            "robust": len(self.rows) - fooled - self.rounded_off,
            "rounded_off": self.rounded_off,
            "written": fooled,
        }

    def write(self, folder: Path, form: Literal["safetensors", "png"]) -> None:
        """Write the examples, then `records.jsonl`: where that is, everything is."""
        kept = self.fates.fooled.nonzero().squeeze(1)
        names = {} if form == "safetensors" else self._write_pictures(folder, kept.tolist())
        if form == "safetensors":
            content = {
                "x_adv": self.fates.x_adv[kept].contiguous(),
                "y": self.samples.y[self.rows[kept]],
                "prediction": self.fates.prediction[kept],
                "index": self.rows[kept],
            }
            about = {"model": self.model.name, "threat": self.threat.text, "attack": self.attack}
            write_bytes(folder / "examples.safetensors", save(content, about))
        lines = (json.dumps(record, allow_nan=False) for record in self._records(names))
        write_bytes(folder / "records.jsonl", "".join(f"{line}\n" for line in lines).encode())

    def _write_pictures(self, folder: Path, places: list[int]) -> dict[int, str]:
        channels = self.fates.x_adv.shape[1]
        if channels not in MODES:
            raise UserError(
                "pictures with 1, 3 or 4 channels for --format png",
                f"{channels} channels",
                "write --format safetensors",
            )
        names = {}
        for place in places:
            row = int(self.rows[place])
            was, now = int(self.samples.y[row]), int(self.fates.prediction[place])
            array = (self.fates.x_adv[place] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
            buffer = io.BytesIO()
            Image.fromarray(array[:, :, 0] if channels == 1 else array).save(buffer, "PNG")
            names[place] = f"{row:06d}-{was}-to-{now}.png"
            write_bytes(folder / names[place], buffer.getvalue())
        return names

    def _records(self, names: dict[int, str]) -> list[dict[str, Any]]:
        """One record a sample, misclassified ones included."""
        attacked = {row: place for place, row in enumerate(self.rows.tolist())}
        records = []
        for row, (name, label) in enumerate(
            zip(self.samples.ids, self.samples.y.tolist(), strict=True)
        ):
            record: dict[str, Any] = {
                "index": row,
                "id": name,
                "label": label,
                "clean_prediction": int(self.clean.prediction[row]),
                "clean_confidence": float(self.clean.confidence[row]),
                "outcome": "misclassified",
            }
            if row in attacked:
                record |= self._fate(attacked[row], names)
            elif self.clean.prediction[row] == label:
                record["outcome"] = "not attacked"
            records.append(record)
        return records

    def _fate(self, place: int, names: dict[int, str]) -> dict[str, Any]:
        """What became of an attacked sample."""
        fooled = bool(self.fates.fooled[place])
        fate: dict[str, Any] = {
            "outcome": "fooled" if fooled else "robust",
            "threat": self.threat.text,
            "attack": self.attack,
            "target": self.target,
            "prediction": int(self.fates.prediction[place]),
            "confidence": float(self.fates.confidence[place]),
            "size": float(self.fates.size[place]) if fooled else None,
            "queries": int(self.fates.queries[place]),
        }
        if place in names:
            fate["file"] = names[place]
        return fate


def make_examples(
    plan: Plan, *, target: str | None, classes: str | None, progress: Progress
) -> Examples:
    """Attack what the plan's model gets right, as its first bout says.

    `target` names a class, `classes` the file with the names of classes.
    """
    device = choose_device(plan.device)
    model = load(plan.model, device=str(device), **plan.loading())
    samples = open_samples(plan.data, samples=plan.samples)
    threat = ThreatModel.parse(plan.bouts[0].threat, model.bounds)
    text = plan.bouts[0].attacks[0]
    engine = Engine(plan.batch_size or _batch_size(model, samples), plan.seed)
    clean = _clean(model, samples, engine.batch_size)
    check_labels(samples, clean.classes)
    names = read_classes(classes, samples.classes or model.classes, clean.classes)
    aim = None if target is None else find_class(target, names, clean.classes)
    wanted = clean.right(samples.y) if aim is None else clean.right(samples.y) & (samples.y != aim)
    rows = wanted.nonzero().squeeze(1)
    progress.phase(f"{text} within {threat.text}", len(rows))
    results = []
    for part in rows.split(BLOCK):  # one empty part where there is nothing to attack
        goal = _goal(samples.y[part], aim)
        task = Task(model, samples.pixels(part), goal, threat, part)
        with model.frozen(plan.seed):
            results.append(judged(build(text), task, engine))
        progress.advance(len(part))
    columns = [torch.cat([getattr(one, name) for one in results]) for name in Fates._fields]
    return Examples(model, samples, threat, text, clean, rows, aim, Fates(*columns))


def _clean(model: Classifier, samples: Samples, size: int) -> Clean:
    """What the model says of the unattacked pictures."""
    count = answer(model, samples.pixels([0])).shape[1]
    with model.frozen():
        parts = [
            predict(model, samples.pixels(rows), size)
            for rows in torch.arange(len(samples)).split(BLOCK)
        ]
    prediction, confidence, finite = (torch.cat(column) for column in zip(*parts, strict=True))
    return Clean(prediction, confidence, finite, count)


def _batch_size(model: Classifier, samples: Samples) -> int:
    return choose_batch_size(model.device, samples.x[0].numel())


def _goal(y: Tensor, target: int | None) -> Goal:
    return Goal(y, None if target is None else torch.full_like(y, target))
