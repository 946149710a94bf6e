"""Average precision and the tally against numbers by hand; the COCO reader and what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robustkit.audit import average_precision
from robustkit.audit.average_precision import precision
from robustkit.audit.detection import pair, tally
from robustkit.audit.statistics import clopper_pearson
from robustkit.detector import Boxes
from robustkit.errors import RefusedError, RobustkitError
from robustkit.loading.coco import Scene, read_coco
from tests.detection.shapes import draw_scenes, write_coco

NOTHING = Boxes.of([], [])
BOX = [10.0, 10.0, 30.0, 30.0]


def scene(truth: Boxes, crowds: Boxes = NOTHING) -> Scene:
    return Scene("one.png", torch.zeros(3, 64, 64, dtype=torch.uint8), (64, 64), truth, crowds)


def seen(boxes: list[list[float]], labels: list[int], scores: list[float]) -> Boxes:
    return Boxes.of(boxes, labels)._replace(scores=torch.tensor(scores))


def test_precision_by_hand() -> None:
    two = scene(Boxes.of([BOX, [40, 40, 60, 60]], [1, 1]))
    # One of two objects: 51 of 101 recalls are reached, all of them at full precision.
    half = precision([two], [seen([BOX], [1], [0.9])])
    assert half.map == pytest.approx(51 / 101)
    # An intersection over union of 0.62 counts at .5, .55 and .6 of the ten overlaps.
    loose = precision([scene(Boxes.of([BOX], [1]))], [seen([[10, 10, 30, 22.4]], [1], [0.5])])
    assert loose.map == pytest.approx(0.3)
    assert loose.map50 == pytest.approx(1.0)


def test_what_is_surer_and_wrong_costs_precision_what_is_less_sure_does_not() -> None:
    one = scene(Boxes.of([BOX], [1]))
    for wrong, wanted in ((0.9, 0.5), (0.3, 1.0)):
        found = seen([BOX, [40, 40, 60, 60]], [1, 1], [0.6, wrong])
        assert precision([one], [found]).map == pytest.approx(wanted)


def test_labels_are_averaged_and_crowds_count_nothing() -> None:
    truth = Boxes.of([BOX, [40, 40, 60, 60]], [1, 2])
    found = seen([BOX, [0, 0, 8, 8]], [1, 1], [0.6, 0.9])
    by_label = precision([scene(truth)], [found]).by_label
    assert by_label == pytest.approx({1: 0.5, 2: 0.0})
    crowd = scene(truth, Boxes.of([[0, 0, 8, 8]], [1]))
    assert precision([crowd], [found]).by_label[1] == pytest.approx(1.0)


def test_nothing_found_and_nothing_there() -> None:
    assert precision([scene(Boxes.of([BOX], [1]))], [NOTHING]).map == 0.0
    empty = precision([scene(NOTHING)], [seen([BOX], [1], [0.9])])
    assert empty.map != empty.map


def noisy(scenes: list[Scene], seed: int) -> list[Boxes]:
    """What a poor detector would see: some of the boxes, shifted, some wrong, some made up."""
    dice = torch.Generator().manual_seed(seed)
    found = []
    for one in scenes:
        made = torch.rand(2, 4, generator=dice).mul(40).sort(1).values
        boxes = torch.cat((one.truth.boxes, made))
        boxes = boxes + 3 * torch.randn(boxes.shape, generator=dice)
        boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        labels = torch.randint(1, 3, (len(boxes),), generator=dice)
        labels[: len(one.truth.labels)] = one.truth.labels
        scores = torch.rand(len(boxes), generator=dice)
        kept = torch.rand(len(boxes), generator=dice) < 0.8
        found.append(Boxes(boxes, labels, scores).take(kept))
    return found


def test_a_resample_has_the_precision_that_pycocotools_gives_its_pictures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scenes = draw_scenes(7, 3)
    found = noisy(scenes, 0)
    crowd = Boxes.of([[0, 0, 20, 20]], [1])
    scenes[2] = scenes[2]._replace(crowds=crowd)
    kept: list[Any] = []
    averages = average_precision.averages

    def spied(curves: Any, weights: Any) -> Any:
        kept.append(curves)
        return averages(curves, weights)

    monkeypatch.setattr(average_precision, "averages", spied)
    precision(scenes, found)
    for times in ([1] * 7, [3, 0, 2, 0, 1, 1, 0], [0, 0, 7, 0, 0, 0, 0], [0, 4, 0, 0, 0, 0, 3]):
        drawn = [row for row, count in enumerate(times) for _ in range(count)]
        again = precision([scenes[row] for row in drawn], [found[row] for row in drawn])
        mine = averages(kept[0], np.array([times], float))
        assert mine[0] == pytest.approx(again.map, abs=1e-12)
        assert 0.05 < again.map < 0.95


def test_the_interval_holds_the_mean_of_so_many_pictures() -> None:
    scenes = draw_scenes(160, 3)
    found = noisy(scenes, 1)
    parts = [slice(at, at + 16) for at in range(0, 160, 16)]
    few = [precision(scenes[part], found[part], seed=part.start) for part in parts]
    values = torch.tensor([one.map for one in few])
    mean = float(values.mean())
    assert sum(one.interval[0] <= mean <= one.interval[1] for one in few) >= 9
    widths = torch.tensor([one.interval[1] - one.interval[0] for one in few])
    assert 0.5 < float(widths.mean() / (2 * 1.96 * values.std())) < 2


def test_the_interval_repeats_and_says_nothing_from_one_picture() -> None:
    scenes = draw_scenes(5, 3)
    found = noisy(scenes, 0)
    first, again, other = (precision(scenes, found, seed=seed).interval for seed in (4, 4, 5))
    assert first == again != other
    assert precision(scenes[:1], found[:1]).interval == (0.0, 1.0)


def test_what_never_varies_has_the_exact_interval_of_whole_pictures() -> None:
    scenes = draw_scenes(5, 3)
    perfect = [one.truth for one in scenes]
    wrong = [one.truth._replace(labels=3 - one.truth.labels) for one in scenes]
    for found, right in ((perfect, 5), (wrong, 0), ([NOTHING] * 5, 0)):
        assert precision(scenes, found).interval == clopper_pearson(right, 5)


def test_each_object_is_one_detection_and_the_surest_chooses_first() -> None:
    truth = Boxes.of([BOX, [11, 10, 31, 30]], [1, 1])
    found = seen([[11, 10, 31, 30], BOX, BOX], [1, 1, 2], [0.5, 0.9, 0.99])
    assert pair(found, truth).tolist() == [1, 0]
    assert pair(found.take(torch.tensor([1])), truth).tolist() == [0, -1]


def test_the_tally_by_hand() -> None:
    away = [40.0, 40.0, 60.0, 60.0]
    one = scene(Boxes.of([BOX, away], [1, 2]))
    clean = seen([BOX, away], [1, 2], [0.9, 0.9])
    after = seen([BOX, [0, 0, 8, 8]], [2, 1], [0.9, 0.9])
    for target, renamed in ((None, 1), (2, 1), (1, 0)):
        counts = tally([one], [clean], [after], target)
        assert (counts.found, counts.vanished, counts.relabelled) == (2, 2, renamed)
        assert counts.false_boxes == 2
    unharmed = tally([one], [clean], [clean], None)
    assert (unharmed.vanished, unharmed.false_boxes) == (0, 0)


def test_a_coco_file_gives_back_its_scenes(tmp_path: Path) -> None:
    scenes = draw_scenes(3, 5)
    read = read_coco(write_coco(tmp_path, scenes), tmp_path / "pictures")
    assert read.categories == {1: "square", 2: "disc"}
    for wanted, got in zip(scenes, read.scenes, strict=True):
        assert got.name == wanted.name
        assert torch.equal(got.picture, wanted.picture)
        assert all(torch.equal(a, b) for a, b in zip(got.truth, wanted.truth, strict=True))
    assert len(read_coco(tmp_path / "scenes.json", tmp_path / "pictures", samples=2).scenes) == 2


def test_crowds_are_kept_apart(tmp_path: Path) -> None:
    path = write_coco(tmp_path, draw_scenes(1, 5))
    data = json.loads(path.read_text())
    data["annotations"].append(
        {"id": 99, "image_id": 0, "category_id": 2, "bbox": [0, 0, 5, 6], "iscrowd": 1}
    )
    path.write_text(json.dumps(data))
    read = read_coco(path, tmp_path / "pictures").scenes[0]
    assert read.crowds.boxes.tolist() == [[0, 0, 5, 6]]
    assert len(read.truth.labels) == len(data["annotations"]) - 1


def broken(data: dict[str, Any], how: str) -> Any:
    """The content of a COCO file, made wrong."""
    if how == "no area":
        data["annotations"][0]["bbox"][2] = 0
    elif how == "not listed":
        data["annotations"][0]["category_id"] = 7
    elif how == "image_id":
        del data["annotations"][0]["image_id"]
    elif how == "annotations":
        del data["annotations"]
    elif how == "no picture with a box":
        data["annotations"] = []
    elif how == "no gone.png":
        data["images"][0]["file_name"] = "gone.png"
    elif how == "no ../scenes.json":
        data["images"][0]["file_name"] = "../scenes.json"
    else:
        return [1, 2]
    return data


@pytest.mark.parametrize(
    "how",
    ["no area", "not listed", "image_id", "annotations", "no picture with a box", "no gone.png",
     "no ../scenes.json", "JSON"],
)  # fmt: skip
def test_broken_annotations_are_refused(tmp_path: Path, how: str) -> None:
    path = write_coco(tmp_path, draw_scenes(1, 5))
    path.write_text(json.dumps(broken(json.loads(path.read_text()), how)))
    with pytest.raises(RefusedError, match=how):
        read_coco(path, tmp_path / "pictures")


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    path = write_coco(tmp_path, draw_scenes(1, 5))
    (tmp_path / "text.json").write_text("{")
    picture = next((tmp_path / "pictures").iterdir())
    picture.write_bytes(picture.read_bytes()[:90])
    for annotations, images, said in (
        (path, tmp_path / "pictures", "a picture that can be read"),
        (path, tmp_path / "nowhere", "--images"),
        (tmp_path / "text.json", None, "no JSON"),
        (tmp_path, None, "no file"),
    ):
        with pytest.raises(RobustkitError, match=said):
            read_coco(annotations, images)
