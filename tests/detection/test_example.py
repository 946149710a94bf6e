"""The example that blinds a detector on a drawn street."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "scripts" / "examples" / "blind_a_detector.py"


def test_what_is_drawn_lies_in_its_boxes() -> None:
    street = runpy.run_path(str(SCRIPT))["street"]
    for seed in range(20):
        x, boxes = street(seed)
        assert torch.equal(x, street(seed)[0])
        assert tuple(x.shape) == (3, 96, 160)
        left, top, right, bottom = boxes.boxes.T
        assert bool((left >= 0).all() & (top >= 0).all())
        assert bool((right <= 160).all() & (bottom <= 96).all())


@pytest.mark.slow
def test_it_writes_a_picture_before_and_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--out", str(tmp_path)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    said = capsys.readouterr().out
    before, after = (
        said.partition(f"{name}: ")[2].partition("\n")[0].count("%") for name in ("before", "after")
    )
    assert before >= 3
    assert after < before / 2
    for name in ("before", "after"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.width == 3 * 160
