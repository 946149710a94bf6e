"""Blind a detector on a street: cars, signs and people that it found are gone.

Usage: python scripts/examples/blind_a_detector.py [--threat linf:12/255] [--steps 400]
           [--out blinded-street]
       python scripts/examples/blind_a_detector.py --model torchvision:fasterrcnn_resnet50_fpn \\
           --picture my-street.jpg [--confidence 0.5]

Without --picture, a street is drawn and a small detector is trained on such streets for about a
minute. Writes before.png and after.png with what the detector sees, and prints it.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torchvision.models.detection import FCOS  # type: ignore[import-untyped]  # it ships no types
from torchvision.models.detection.anchor_utils import (  # type: ignore[import-untyped]
    AnchorGenerator,
)

from robustkit.attacks.sight import sight
from robustkit.audit.detection import attack_each
from robustkit.detector import Boxes, Detector
from robustkit.loading.detectors import load_detector
from robustkit.loading.folder import read_picture
from robustkit.threat import ThreatModel
from robustkit.verbs.boxes import Panel, draw_boxes
from robustkit.verbs.patches import save

HIGH, WIDE = 96, 160
NAMES = {1: "car", 2: "sign", 3: "person"}


def main() -> None:
    """Load or train, attack, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a detector that robustkit detect takes")
    parser.add_argument("--picture", type=Path, help="a picture for it")
    parser.add_argument("--threat", default="linf:12/255", help="NORM:EPS")
    parser.add_argument("--confidence", type=float, default=0.5, help="from which it counts")
    parser.add_argument("--steps", type=int, default=400, help="of training the small detector")
    parser.add_argument("--out", type=Path, default=Path("blinded-street"), help="a folder")
    given = parser.parse_args()
    if (given.model is None) != (given.picture is None):
        parser.error("--model and --picture belong together")
    if given.model:
        detector = load_detector(given.model)
        names = dict(enumerate(detector.classes))
        x = read_picture(given.picture).float().expand(3, -1, -1) / 255
    else:
        detector, names = Detector(trained(given.steps), name="small detector"), NAMES
        x, _ = street(10**6)
    blind = sight(detector, "disappear", confidence=given.confidence)
    threat = ThreatModel.parse(given.threat)
    attacked = attack_each(blind, x[None], threat, attack="pgd:steps=100")[0]
    for title, picture in (("before", x), ("after", attacked)):
        (seen,) = detector.detect(picture[None], given.confidence)
        print(f"{title}: {words(seen, names)}")
        drawn = draw_boxes(Panel(f"{title}: {len(seen.labels)} boxes", picture, seen), names)
        save(drawn, given.out / f"{title}.png")
    size = float((attacked - x).abs().max()) * 255
    print(f"no pixel differs by more than {size:.1f}/255; pictures in {given.out}")


def words(seen: Boxes, names: dict[int, str]) -> str:
    """What is seen, in words."""
    found = [
        f"{names.get(label, str(label))} {score:.0%}"
        for label, score in zip(seen.labels.tolist(), seen.scores.tolist(), strict=True)
    ]
    return ", ".join(found) or "nothing"


def street(seed: int) -> tuple[Tensor, Boxes]:
    """A drawn street `[3,H,W]` with cars, signs and people, and where they are."""
    generator = torch.Generator().manual_seed(seed)

    def whole(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    sky = whole(140, 220)
    picture = Image.new("RGB", (WIDE, HIGH), (sky - 40, sky - 10, sky))
    draw = ImageDraw.Draw(picture)
    for left in range(0, WIDE, 20):
        draw.rectangle((left, whole(8, 30), left + 19, 56), fill=(whole(90, 150),) * 3)
    draw.rectangle((0, 52, WIDE, HIGH), fill=(whole(60, 90),) * 3)
    for left in range(whole(0, 20), WIDE, 24):
        draw.rectangle((left, 76, left + 10, 77), fill=(200, 200, 190))
    boxes: list[list[float]] = []
    labels: list[int] = []
    for slot in range(5):
        kind = whole(0, 4)
        if not kind:
            continue
        left, top = 32 * slot + whole(0, 5), whole(54, 68) if kind == 1 else whole(34, 46)
        boxes.append(_DRAWN[kind](draw, left, top, tuple(whole(0, 255) for _ in range(3))))
        labels.append(kind)
    noise = 6 * torch.randn(3, HIGH, WIDE, generator=generator)
    plain = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    x = plain.reshape(HIGH, WIDE, 3).permute(2, 0, 1) + noise
    return x.round().clamp(0, 255) / 255, Boxes.of(boxes, labels)


def _car(draw: ImageDraw.ImageDraw, left: int, top: int, colour: tuple[int, ...]) -> list[float]:
    draw.rectangle((left + 5, top, left + 19, top + 7), fill=(170, 200, 220))
    draw.rectangle((left, top + 6, left + 25, top + 14), fill=colour)
    for wheel in (left + 3, left + 16):
        draw.ellipse((wheel, top + 11, wheel + 6, top + 17), fill=(10, 10, 10))
    return [left, top, left + 26, top + 18]


def _sign(draw: ImageDraw.ImageDraw, left: int, top: int, _colour: tuple[int, ...]) -> list[float]:
    draw.rectangle((left + 7, top + 14, left + 8, top + 34), fill=(120, 120, 120))
    draw.ellipse((left, top, left + 15, top + 15), fill=(190, 20, 30))
    draw.rectangle((left + 3, top + 6, left + 12, top + 9), fill=(245, 245, 245))
    return [left, top, left + 16, top + 16]


def _person(draw: ImageDraw.ImageDraw, left: int, top: int, colour: tuple[int, ...]) -> list[float]:
    draw.ellipse((left + 2, top, left + 8, top + 6), fill=(225, 180, 150))
    draw.rectangle((left, top + 7, left + 10, top + 20), fill=colour)
    for leg in (left + 1, left + 6):
        draw.rectangle((leg, top + 20, leg + 3, top + 32), fill=(30, 35, 70))
    return [left, top, left + 11, top + 33]


_DRAWN = {1: _car, 2: _sign, 3: _person}


def trained(steps: int) -> FCOS:
    """A small FCOS, trained from random weights on drawn streets."""
    torch.manual_seed(0)

    def layer(first: int, last: int, stride: int) -> list[nn.Module]:
        conv = nn.Conv2d(first, last, 3, stride, 1, bias=False)
        return [conv, nn.BatchNorm2d(last), nn.ReLU()]

    backbone: Any = nn.Sequential(
        *layer(3, 16, 2), *layer(16, 32, 2), *layer(32, 64, 2), *layer(64, 64, 1), *layer(64, 32, 1)
    )
    backbone.out_channels = 32
    net = FCOS(
        backbone, len(NAMES) + 1, anchor_generator=AnchorGenerator(((8,),), ((1.0,),)),
        min_size=HIGH, max_size=WIDE,
    )  # fmt: skip
    scenes = [street(seed) for seed in range(400)]
    scenes = [(x, boxes) for x, boxes in scenes if len(boxes.labels)]
    adam = torch.optim.AdamW(net.parameters(), 4e-3)
    pace = torch.optim.lr_scheduler.OneCycleLR(adam, 4e-3, steps)
    for step in range(steps):
        chosen = [scenes[row] for row in torch.randint(len(scenes), (8,)).tolist()]
        truth = [{"boxes": boxes.boxes, "labels": boxes.labels} for _, boxes in chosen]
        losses = net([x for x, _ in chosen], truth)
        adam.zero_grad()
        total = torch.stack(list(losses.values())).sum()
        total.backward()
        adam.step()
        pace.step()
        if step % 100 == 0:
            print(f"training, step {step} of {steps}: loss {float(total.detach()):.2f}", flush=True)
    return net.eval()


if __name__ == "__main__":
    main()
