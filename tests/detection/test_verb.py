"""`robustkit detect`: from weights and a COCO file to a report, and what can be wrong."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file

from robustkit.attacks.sight import sight
from robustkit.audit import detection
from robustkit.audit.average_precision import precision
from robustkit.audit.detection import attack_each, batches
from robustkit.cli import cli
from robustkit.detector import Detector
from robustkit.loading.coco import Scene, Scenes, read_coco
from robustkit.loading.folder import read_picture
from robustkit.threat import ThreatModel
from robustkit.verbs import detecting
from robustkit.verbs.detected import measured
from robustkit.verbs.detecting import Attacked, Shelf, Wish, attacked, begun
from robustkit.verbs.patches import read_patch
from robustkit.verbs.progress import Lines
from tests.detection import shapes

ARCH = f"{shapes.__file__}:small_fcos"
NAMES = {shapes.SQUARE: "square", shapes.DISC: "disc"}


def run(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, ["detect", *(str(word) for word in words)])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def fought(detector: Detector, scenes: Scenes, wish: Wish, folder: Path) -> Attacked:
    """The scenes under attack, from a run that begins in an empty folder."""
    ledger = begun(folder, detector, scenes, wish, resume=False)
    return attacked(detector, scenes, wish, folder=folder, ledger=ledger, progress=Lines())


@pytest.fixture
def given(tmp_path: Path) -> tuple[object, ...]:
    """An untrained detector, four scenes, and a folder to write to."""
    torch.manual_seed(0)
    module = shapes.small_fcos()
    save_file(module.state_dict(), tmp_path / "model.safetensors")
    path = shapes.write_coco(tmp_path / "data", shapes.draw_scenes(4, 5))
    return (
        tmp_path / "model.safetensors", "--arch", ARCH, "--data", path, "--images",
        tmp_path / "data" / "pictures", "--out", tmp_path / "out",
    )  # fmt: skip


def test_a_run_says_in_json_and_html_what_it_measured(
    tmp_path: Path, given: tuple[object, ...]
) -> None:
    facts = json.loads(run(*given, "--attack", "pgd:steps=2", "--json").stdout)
    kept = json.loads((tmp_path / "out" / "detection.json").read_text())
    assert facts == kept
    assert (facts["pictures"], facts["trained_on"], facts["threat"]) == (4, 0, "linf:8/255")
    assert set(facts["clean"]["by_class"]) == {"square", "disc"}
    for row in (facts[name] for name in ("clean", "attacked", "control")):
        assert 0 <= row["map_interval"][0] <= row["map"] <= row["map_interval"][1] <= 1
    assert 0 <= facts["vanished"]["interval"][0] <= facts["vanished"]["interval"][1] <= 1
    page = (tmp_path / "out" / "report.html").read_text()
    assert facts["sha256"] in page
    assert "<script" not in page
    assert page.count("data:image/png;base64,") == 4
    assert len(list((tmp_path / "out" / "attacked").iterdir())) == 4


def test_one_patch_is_trained_on_every_other_picture(
    tmp_path: Path, given: tuple[object, ...]
) -> None:
    words = ("--threat", "patch:12x16", "--steps", 2, "--place", "centre", "--objective", "create")
    facts = json.loads(run(*given, *words, "--json").stdout)
    assert (facts["pictures"], facts["trained_on"]) == (2, 2)
    assert facts["attack"] == "robust-dpatch:steps=2"
    assert tuple(read_patch(tmp_path / "out" / "patch.png")[0].pixels.shape) == (3, 12, 16)
    elsewhere = (*given[:-1], tmp_path / "again")
    words = ("--threat", "patch:0.04", "--steps", 1, "--place", "anywhere")
    assert "mAP" in run(*elsewhere, *words).stdout


@pytest.mark.parametrize("place", ["corner", "centre", "anywhere"])
def test_a_patch_changes_its_place_and_not_one_pixel_elsewhere(tmp_path: Path, place: str) -> None:
    scenes = Scenes(tuple(shapes.draw_scenes(4, 5)), NAMES, "shapes", "")
    wish = Wish(
        ThreatModel.parse("patch:10x12"), "disappear", None, 0.05, None, place=place, steps=1
    )
    made = fought(Detector(shapes.small_fcos()), scenes, wish, tmp_path)
    patch = read_patch(tmp_path / "patch.png")[0]
    for before, path in zip(made.scenes, made.pictures, strict=True):
        after = read_picture(path) / 255
        rows, columns = (after != before.x).any(0).nonzero(as_tuple=True)
        height, width = (int(part.max() - part.min()) + 1 for part in (rows, columns))
        if place == "anywhere":
            assert height * width < 3 * 10 * 12
            continue
        top, left = (0, 0) if place == "corner" else (27, 26)
        assert (int(rows.min()), int(columns.min())) >= (top, left)
        assert height <= 10
        assert width <= 12
        torch.testing.assert_close(
            after[:, top : top + 10, left : left + 12], patch.pixels, rtol=0, atol=1e-2
        )


@pytest.mark.parametrize("threat", ["linf:8/255", "patch:10x12"])
def test_an_interrupted_run_goes_on_to_the_same_result(
    given: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threat: str
) -> None:
    attack = ("--attack", "pgd:steps=3") if threat[0] == "l" else ("--steps", 2)
    words = ("--threat", threat, "--confidence", 0.01, *attack, "--json")
    monkeypatch.setattr(detecting, "AT_ONCE", 1)
    whole = json.loads(run(*given, *words).stdout)
    cut, calls, detect_all = (*given[:-1], tmp_path / "cut"), [], detecting.detect_all

    def interrupted(*asked: Any) -> Any:
        calls.append(asked)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return detect_all(*asked)

    with monkeypatch.context() as patched:
        patched.setattr(detecting, "detect_all", interrupted)
        assert f"add --resume --out {tmp_path / 'cut'}" in run(*cut, *words, code=130).stderr
    noted = (tmp_path / "cut/ledger.jsonl").read_text()
    assert not (tmp_path / "cut/detection.json").exists()
    done: list[str] = []
    for name in ("detect_all", "robust_dpatch"):
        monkeypatch.setattr(detecting, name, counted(getattr(detecting, name), done))
    found = json.loads(run(*cut, *words, "--resume").stdout)
    # What was finished, a patch among it, is not done again.
    assert done == ["detect_all"] * 3 * (found["pictures"] - 1)
    assert (tmp_path / "cut/ledger.jsonl").read_text().startswith(noted)
    assert {**found, "seconds": 0} == {**whole, "seconds": 0}
    for path in (tmp_path / "out").rglob("*.png"):
        twin = tmp_path / "cut" / path.relative_to(tmp_path / "out")
        assert twin.read_bytes() == path.read_bytes()


def counted(function: Callable[..., Any], calls: list[str]) -> Callable[..., Any]:
    """The same function, which leaves its name behind."""

    def called(*given: Any, **named: Any) -> Any:
        calls.append(function.__name__)
        return function(*given, **named)

    return called


def test_a_run_is_never_overwritten_nor_gone_on_with_by_another(
    given: tuple[object, ...], tmp_path: Path
) -> None:
    run(*given, "--attack", "fgsm", "--samples", 2)
    before = (tmp_path / "out/ledger.jsonl").read_bytes()
    assert "--resume" in run(*given, "--attack", "fgsm", "--samples", 2, code=2).stderr
    words = ("--attack", "fgsm", "--resume")
    assert "data: was" in run(*given, *words, "--samples", 3, code=2).stderr
    error = run(*given, *words, "--samples", 2, "--confidence", 0.2, code=2).stderr
    assert "confidence: was 0.05, is 0.2" in error
    assert (tmp_path / "out/ledger.jsonl").read_bytes() == before


def test_few_pictures_are_in_memory_at_once(
    given: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data" / "scenes.json"
    scenes = read_coco(path, tmp_path / "data" / "pictures")
    assert all(isinstance(scene.source, Path) for scene in scenes.scenes)
    sizes: list[int] = []
    judged = detection.judged

    def spied(attack: Any, task: Any, engine: Any) -> Any:
        sizes.append(len(task.x))
        return judged(attack, task, engine)

    monkeypatch.setattr(detection, "judged", spied)
    monkeypatch.setattr(detecting, "AT_ONCE", 3)
    run(*given, "--attack", "fgsm")
    assert sizes == [3, 1]


def test_what_is_drawn_belongs_to_the_picture_and_not_to_its_batch() -> None:
    detector, scenes = Detector(shapes.small_fcos()), shapes.draw_scenes(3, 5)
    model, threat = sight(detector, "create"), ThreatModel.parse("linf:8/255")
    x = torch.stack([scene.x for scene in scenes])
    together = attack_each(model, x, threat, attack="pgd:steps=1")
    alone = attack_each(model, x[2:], threat, attack="pgd:steps=1", index=[2])
    assert torch.equal(together[2:], alone)
    other = attack_each(model, x[2:], threat, attack="pgd:steps=1")
    assert not torch.equal(other, alone)


def test_a_shelf_shows_pictures_of_the_most_frequent_size() -> None:
    scenes = shapes.draw_scenes(3, 5)
    wide = torch.zeros(3, 32, 96, dtype=torch.uint8)
    odd = Scene("wide.png", wide, (32, 96), scenes[0].truth, scenes[0].crowds)
    shelf = Shelf([odd, *scenes])
    assert tuple(shelf.shape) == (4, 3, 64, 64)
    shown = shelf[torch.tensor([1, 0, 1])]
    assert torch.equal(shown[0], scenes[0].x)
    assert tuple(shown.shape) == (3, 3, 64, 64)
    assert not shown[1].any()
    assert batches(shelf.scenes, 2) == [[0], [1, 2], [3]]


def test_the_gate_decides_the_exit_code(given: tuple[object, ...]) -> None:
    words = (*given, "--attack", "fgsm", "--json")
    gate = json.loads(run(*words, "--at-least", 0.9, code=1).stdout)["gates"][0]
    assert (gate["verdict"], gate["at_least"]) == ("FAIL", 0.9)
    again = json.loads(run(*words, "--at-least", 0, "--resume").stdout)
    assert again["gates"][0]["verdict"] == "PASS"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--threat", "patch:65x8"), 2, "larger"),
        (("--threat", "patch"), 2, "patch:32x32"),
        (("--threat", "nonsense"), 2, "linf:8/255"),
        (("--attack", "nothing"), 2, "attack"),
        (("--objective", "misclassify"), 2, "--to"),
        (("--to", "triangle"), 2, "square"),
        (("--confidence", "2"), 2, "between 0 and 1"),
        (("--steps", "0"), 2, "--steps"),
        (("--out", "", "--resume"), 2, "--out beside --resume"),
        (("--samples", "0"), 2, "samples"),
        (("--samples", "1", "--threat", "patch:8x8"), 2, "two pictures"),
        (("--data", "zoo:digits"), 2, "COCO"),
        (("--data", "model.npz"), 4, "COCO"),
        (("--images", "nowhere"), 2, "--images"),
        (("--at-least", "much"), 2, "fraction"),
    ],
)
def test_what_cannot_be_done_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: tuple[object, ...],
    words: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.npz").write_bytes(b"PK\x03\x04\xff")
    error = run(*given, *words, code=code).stderr
    assert said in error
    assert "fix:" in error
    assert not (tmp_path / "out").exists()


def test_nothing_is_attacked_that_cannot_be_measured(
    given: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.cocoeval", None)
    assert "pip install pycocotools" in run(*given, code=3).stderr


def test_a_classifier_is_no_detector(given: tuple[object, ...]) -> None:
    assert "Faster R-CNN" in run("zoo:digits-standard", *given[3:], code=2).stderr
    factory = f"py:{Path(shapes.__file__).parent / 'shapes.py'}:small_backbone"
    assert "Faster R-CNN" in run(factory, *given[3:], code=4).stderr


def test_labels_that_the_detector_never_gives(tmp_path: Path, given: tuple[object, ...]) -> None:
    path = tmp_path / "data" / "scenes.json"
    path.write_text(path.read_text().replace('"category_id": 2', '"category_id": 90').replace(
        '"id": 2, "name"', '"id": 90, "name"'))  # fmt: skip
    assert "category 90" in run(*given, code=2).stderr


@pytest.fixture(scope="module")
def detector() -> Detector:
    """The small detector, trained from random weights."""
    return Detector(shapes.trained_fcos())


@pytest.mark.slow
def test_a_trained_detector_is_blinded_and_noise_does_nothing(
    tmp_path: Path, detector: Detector
) -> None:
    scenes = Scenes(tuple(shapes.draw_scenes(120, 1)), NAMES, "shapes", "")
    few = Scenes(scenes.scenes[:30], NAMES, "shapes", "")
    assert precision(few.scenes, [scene.truth for scene in few.scenes]).map == pytest.approx(1.0)
    for text, attack, data in (
        ("linf:16/255", "pgd:steps=20", few),
        ("patch:24x24", None, scenes),
    ):
        wish = Wish(
            ThreatModel.parse(text), "disappear", None, 0.5, attack, place="centre", steps=220
        )
        made = fought(detector, data, wish, tmp_path / text.partition(":")[0])
        facts, drawings = measured(detector, data, made, wish)
        clean, control, after = (facts[key]["map"] for key in ("clean", "control", "attacked"))
        low, high = facts["clean"]["map_interval"]
        assert facts["attacked"]["map_interval"][1] < low < clean < high
        assert clean > 0.7
        assert control > 0.9 * clean
        assert after < 0.2 * clean
        assert facts["vanished"]["rate"] > 0.7
        assert len(drawings) == 6


@pytest.mark.slow
def test_a_trained_detector_sees_what_the_attacker_wants(
    tmp_path: Path, detector: Detector
) -> None:
    scenes = Scenes(tuple(shapes.draw_scenes(20, 1)), NAMES, "shapes", "")
    facts = {}
    for objective, target in (("misclassify", shapes.DISC), ("create", None)):
        wish = Wish(ThreatModel.parse("linf:16/255"), objective, target, 0.5, "pgd:steps=20")
        made = fought(detector, scenes, wish, tmp_path / objective)
        facts[objective], _ = measured(detector, scenes, made, wish)
    seen = facts["misclassify"]
    squares = sum(int((scene.truth.labels == shapes.SQUARE).sum()) for scene in scenes.scenes)
    assert seen["clean"]["relabelled"] == 0
    assert seen["attacked"]["relabelled"] > 0.5 * squares
    assert facts["create"]["clean"]["false_boxes"] < 5
    assert facts["create"]["attacked"]["false_boxes"] > 40
