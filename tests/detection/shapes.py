"""Scenes of squares and discs, and a detector so small that it learns them in seconds."""

import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.ops import MultiScaleRoIAlign

from robustkit.detector import Boxes
from robustkit.loading.coco import Scene

SIDE, FREE = 64, (20, 44)
"""No object lies in the square in the middle, where a patch will."""
SQUARE, DISC = 1, 2


def draw_scenes(count: int, seed: int, *, clutter: bool = False) -> list[Scene]:
    """Pictures with reddish squares and bluish discs; with `clutter`, half have noise amidst."""
    generator = torch.Generator().manual_seed(seed)

    def whole(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    row, column = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    scenes: list[Scene] = []
    while len(scenes) < count:
        x = 0.35 + 0.06 * torch.rand(3, SIDE, SIDE, generator=generator)
        x += 0.2 * torch.rand(3, 1, 1, generator=generator)
        taken = [(FREE[0], FREE[0], FREE[1], FREE[1])]
        labels = []
        for _ in range(8):
            size, top, left = whole(14, 21), whole(0, SIDE - 20), whole(0, SIDE - 20)
            box = (left, top, left + size, top + size)
            if any(_touch(box, other) for other in taken):
                continue
            label = whole(SQUARE, DISC + 1)
            inside = (row - top - size / 2 + 0.5) ** 2 + (column - left - size / 2 + 0.5) ** 2
            square = (row >= top) & (row < box[3]) & (column >= left) & (column < box[2])
            mask = square if label == SQUARE else inside <= (size / 2) ** 2
            tint = torch.tensor([0.15, 0, 0] if label == SQUARE else [0, 0, 0.15])
            x[:, mask] += tint[:, None]
            taken.append(box)
            labels.append(label)
        if not labels:
            continue
        if clutter and whole(0, 2):
            a, b = FREE
            x[:, a:b, a:b] = torch.rand(3, b - a, b - a, generator=generator)
        picture = x.clamp(0, 1).mul(255).round().byte()
        truth = Boxes.of(taken[1:], labels)
        name = f"{seed}-{len(scenes)}.png"
        scenes.append(Scene(name, picture, (SIDE, SIDE), truth, Boxes.of([], [])))
    return scenes


def _touch(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def write_coco(folder: Path, scenes: list[Scene]) -> Path:
    """The scenes as a folder of pictures and a COCO file, whose path is returned."""
    (folder / "pictures").mkdir(parents=True)
    annotations = []
    for key, scene in enumerate(scenes):
        Image.fromarray(scene.picture.permute(1, 2, 0).contiguous().numpy()).save(
            folder / "pictures" / scene.name
        )
        for (left, top, right, bottom), label in zip(
            scene.truth.boxes.tolist(), scene.truth.labels.tolist(), strict=True
        ):
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": key, "category_id": label,
                    "bbox": [left, top, right - left, bottom - top], "iscrowd": 0,
                }
            )  # fmt: skip
    data = {
        "images": [{"id": key, "file_name": scene.name} for key, scene in enumerate(scenes)],
        "annotations": annotations,
        "categories": [{"id": SQUARE, "name": "square"}, {"id": DISC, "name": "disc"}],
    }
    path = folder / "scenes.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def small_fcos() -> FCOS:
    """An untrained FCOS of a few thousand weights, for pictures of 64 x 64."""

    def layer(first: int, last: int, stride: int) -> list[nn.Module]:
        conv = nn.Conv2d(first, last, 3, stride, 1, bias=False)
        return [conv, nn.BatchNorm2d(last), nn.ReLU()]

    backbone: Any = nn.Sequential(
        *layer(3, 16, 2), *layer(16, 32, 2), *layer(32, 64, 2), *layer(64, 64, 1), *layer(64, 32, 1)
    )
    backbone.out_channels = 32
    return FCOS(
        backbone, 3, anchor_generator=AnchorGenerator(((8,),), ((1.0,),)), min_size=SIDE,
        max_size=SIDE, image_mean=[0.5] * 3, image_std=[0.25] * 3,
    )  # fmt: skip


def trained_fcos(steps: int = 300) -> FCOS:
    """The small one, trained from random weights: about 15 seconds of one core."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        scenes, net = draw_scenes(600, 0, clutter=True), small_fcos()
        adam = torch.optim.AdamW(net.parameters(), 4e-3)
        pace = torch.optim.lr_scheduler.OneCycleLR(adam, 4e-3, steps)
        for _ in range(steps):
            chosen = [scenes[row] for row in torch.randint(len(scenes), (16,)).tolist()]
            losses = net([scene.x for scene in chosen], [_target(scene) for scene in chosen])
            adam.zero_grad()
            sum(losses.values()).backward()
            adam.step()
            pace.step()
    return net.eval()


def _target(scene: Scene) -> dict[str, Tensor]:
    return {"boxes": scene.truth.boxes, "labels": scene.truth.labels}


def small_backbone() -> Any:
    """A backbone with batch statistics, whose 8 x 8 cells see the picture at a stride of 8."""
    layers: list[nn.Module] = []
    for first, last in ((3, 8), (8, 16), (16, 32)):
        layers += [nn.Conv2d(first, last, 3, 2, 1), nn.BatchNorm2d(last), nn.ReLU()]
    backbone: Any = nn.Sequential(*layers)
    backbone.out_channels = 32
    return backbone


def small_retinanet() -> RetinaNet:
    """An untrained RetinaNet."""
    anchors = AnchorGenerator(((8, 16),), ((1.0,),))
    return RetinaNet(small_backbone(), 3, anchor_generator=anchors, **SIZES)


def small_faster_rcnn() -> FasterRCNN:
    """An untrained Faster R-CNN that draws few proposals."""
    anchors = AnchorGenerator(((8, 16),), ((1.0,),))
    pool = MultiScaleRoIAlign(["0"], 3, 0)
    return FasterRCNN(
        small_backbone(), 3, rpn_anchor_generator=anchors, box_roi_pool=pool,
        rpn_post_nms_top_n_test=20, **SIZES,
    )  # fmt: skip


def small_ssd() -> SSD:
    """An untrained SSD."""
    boxes = DefaultBoxGenerator([[2]], scales=[0.2, 0.4])
    backbone = small_backbone()
    backbone.out_channels = [32]
    return SSD(backbone, boxes, (SIDE, SIDE), 3)


SIZES = {"min_size": SIDE, "max_size": SIDE}
FAMILIES = {
    "faster-rcnn": small_faster_rcnn,
    "retinanet": small_retinanet,
    "fcos": small_fcos,
    "ssd": small_ssd,
}
