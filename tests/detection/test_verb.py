"""`robustkit detect`: from weights and a COCO file to a report, and what can be wrong."""

import json
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file

from robustkit.attacks.patch import Patch
from robustkit.audit.detection import precision
from robustkit.cli import cli
from robustkit.detector import Detector
from robustkit.loading.coco import Scenes
from robustkit.threat import ThreatModel
from robustkit.verbs.detecting import Wish, attacked, measured
from robustkit.verbs.patches import read_patch
from tests.detection import shapes

ARCH = f"{shapes.__file__}:small_fcos"
NAMES = {shapes.SQUARE: "square", shapes.DISC: "disc"}


def run(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, ["detect", *(str(word) for word in words)])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


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
    assert (
        "mAP" in run(*given, "--threat", "patch:0.04", "--steps", 1, "--place", "anywhere").stdout
    )


@pytest.mark.parametrize("place", ["corner", "centre", "anywhere"])
def test_a_patch_changes_its_place_and_not_one_pixel_elsewhere(place: str) -> None:
    scenes = Scenes(tuple(shapes.draw_scenes(4, 5)), NAMES, "shapes", "")
    wish = Wish(
        ThreatModel.parse("patch:10x12"), "disappear", None, 0.05, None, place=place, steps=1
    )
    made = attacked(Detector(shapes.small_fcos()), scenes, wish)
    assert isinstance(made.patch, Patch)
    for before, after in zip(made.scenes, made.pictures, strict=True):
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
            after[:, top : top + 10, left : left + 12], made.patch.pixels, rtol=0, atol=1e-2
        )


def test_the_gate_decides_the_exit_code(given: tuple[object, ...]) -> None:
    words = (*given, "--attack", "fgsm", "--json")
    gate = json.loads(run(*words, "--at-least", 0.9, code=1).stdout)["gates"][0]
    assert (gate["verdict"], gate["at_least"]) == ("FAIL", 0.9)
    assert json.loads(run(*words, "--at-least", 0).stdout)["gates"][0]["verdict"] == "PASS"


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
def test_a_trained_detector_is_blinded_and_noise_does_nothing(detector: Detector) -> None:
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
        facts, drawings = measured(detector, data, attacked(detector, data, wish), wish)
        clean, control, after = (facts[key]["map"] for key in ("clean", "control", "attacked"))
        assert clean > 0.7
        assert control > 0.9 * clean
        assert after < 0.2 * clean
        assert facts["vanished"]["rate"] > 0.7
        assert len(drawings) == 6


@pytest.mark.slow
def test_a_trained_detector_sees_what_the_attacker_wants(detector: Detector) -> None:
    scenes = Scenes(tuple(shapes.draw_scenes(20, 1)), NAMES, "shapes", "")
    facts = {}
    for objective, target in (("misclassify", shapes.DISC), ("create", None)):
        wish = Wish(ThreatModel.parse("linf:16/255"), objective, target, 0.5, "pgd:steps=20")
        facts[objective], _ = measured(detector, scenes, attacked(detector, scenes, wish), wish)
    seen = facts["misclassify"]
    squares = sum(int((scene.truth.labels == shapes.SQUARE).sum()) for scene in scenes.scenes)
    assert seen["clean"]["relabelled"] == 0
    assert seen["attacked"]["relabelled"] > 0.5 * squares
    assert facts["create"]["clean"]["false_boxes"] < 5
    assert facts["create"]["attacked"]["false_boxes"] > 40
