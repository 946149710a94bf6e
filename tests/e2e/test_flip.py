"""`robustkit flip`: the panda, and what can be wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustkit.errors import UserError
from robustkit.verbs.labels import find_class
from robustkit.zoo import load_samples

NAMES = ("tench, Tinca tinca", "giant panda, panda bear", "red panda", "gibbon")


@pytest.fixture
def digit(folder: Path) -> Path:
    """A picture file of a nine."""
    nine = load_samples("digits").pixels([3])[0, 0].mul(255).round().numpy().astype(np.uint8)
    Image.fromarray(nine).save(folder / "nine.png")
    return folder / "nine.png"


def panda(run, reference: Path, *words: str) -> dict[str, object]:
    home = reference / "imagenet"
    result = run(
        "flip", home / "panda.png", home / "googlenet.safetensors", "--arch", "nets:googlenet",
        "--preprocess", "none", "--classes", home / "classes.txt", "--out", "flip.png", "--json",
        *words,
    )  # fmt: skip
    facts: dict[str, object] = json.loads(result.stdout)
    return facts


PGD = ("--attack", "pgd:steps=20")


@pytest.mark.parametrize(
    ("words", "name", "confidence"),
    [
        ((), "gibbon", 0.812),
        (("--to", "gibbon"), "gibbon", 0.954),
        pytest.param((*PGD, "--to", "Gibbon"), "gibbon", 0.9998, marks=pytest.mark.slow),
        pytest.param((*PGD, "--to", "9"), "ostrich", 0.99, marks=pytest.mark.slow),
    ],
)
def test_the_panda_becomes(run, reference, folder, words, name: str, confidence: float) -> None:
    facts = panda(run, reference, *words)
    before, after = facts["before"], facts["after"]
    assert before["name"] == "giant panda"
    assert before["confidence"] == pytest.approx(0.9899, abs=5e-4)
    assert after["name"] == name
    if confidence in (0.812, 0.954):
        assert after["confidence"] == pytest.approx(confidence, abs=0.002)
    else:
        assert after["confidence"] >= confidence
    assert facts["size"] <= 0.007 * (1 + 1e-6) + 2e-7
    assert facts["fooled"]
    with Image.open(folder / "flip.png") as sheet:
        assert sheet.width > 3 * 224


def test_a_digit_flips_and_the_triptych_shows_it(run, digit, folder) -> None:
    result = run("flip", digit, "zoo:digits-standard", "--threat", "linf:0.1", "--attack", "pgd")
    before, after, verdict, _ = result.stdout.splitlines()
    assert before.split() == ["before", "9", ">99.99", "%"]
    assert after.split()[1] != "9"
    assert verdict.startswith("fooled")
    with Image.open(folder / "nine-flip.png") as sheet, Image.open(digit) as original:
        # The first panel is the picture, enlarged 28 times; the second is noise around grey.
        pixels = np.asarray(sheet.convert("L"))
        assert (pixels[20 + 14 : 244 : 28, 20 + 14 : 244 : 28] == np.asarray(original)).all()
        noise = pixels[20 + 14 : 244 : 28, 300 + 14 : 524 : 28]
        assert noise.max() == 255 or noise.min() == 0


def test_the_same_seed_gives_the_same_flip(run, digit) -> None:
    words = ("flip", digit, "zoo:digits-standard", "--threat", "l2:0.5", "--attack", "pgd")
    assert run(*words, "--json").stdout == run(*words, "--json").stdout
    other = run(*words, "--seed", "1", "--json").stdout
    assert json.loads(other)["after"]["confidence"] != 1


def test_a_target_is_reached(run, digit) -> None:
    result = run(
        "flip", digit, "zoo:digits-standard", "--threat", "linf:0.2", "--attack", "pgd", "--to",
        "3", "--json",
    )  # fmt: skip
    facts = json.loads(result.stdout)
    assert facts["after"]["label"] == facts["target"] == 3


def test_more_steps_make_it_surer(run, digit) -> None:
    def confidence(steps: int) -> float:
        attack = f"pgd:steps={steps},step_size=0.02,random_start=false"
        words = ("--threat", "linf:0.3", "--attack", attack, "--to", "3", "--json")
        facts = json.loads(run("flip", digit, "zoo:digits-standard", *words).stdout)
        return float(facts["after"]["confidence"])

    assert confidence(30) > max(confidence(8), 0.9)


def test_no_budget_no_flip(run, digit) -> None:
    result = run("flip", digit, "zoo:digits-standard", "--threat", "linf:0")
    assert "not fooled" in result.stdout


def test_colours_are_turned_grey_for_a_grey_model(run, folder) -> None:
    Image.new("RGB", (8, 8), (255, 0, 0)).save(folder / "red.png")
    run("flip", "red.png", "zoo:digits-standard")


def test_names_from_a_file(run, digit, folder) -> None:
    (folder / "names.txt").write_text("\n".join(f"digit {n}\x1b[31m" for n in range(10)) + "\n")
    result = run(
        "flip", digit, "zoo:digits-standard", "--classes", "names.txt", "--to", "digit 3",
        "--threat", "linf:0.2",
    )  # fmt: skip
    assert "digit 9" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (("nothing.png", "zoo:digits-standard"), "IMAGE, a picture file", 2),
        (("text.png", "zoo:digits-standard"), "got text.png (", 4),
        (("nine.png", "zoo:digits"), "zoo:digits-standard", 2),
        (("nine.png", "nothing.pt"), "nothing.pt", 2),
        (("nine.png", "zoo:digits-standard", "--to", "10"), "a class from 0 to 9", 2),
        (("nine.png", "zoo:digits-standard", "--to", "9"), "does not see already", 2),
        (("nine.png", "zoo:digits-standard", "--to", "cat"), "--classes", 2),
        (("nine.png", "zoo:digits-standard", "--attack", "fgms"), "did you mean", 2),
        (("nine.png", "zoo:digits-standard", "--threat", "8/255"), "linf:8/255", 2),
        (("nine.png", "zoo:digits-standard", "--classes", "text.png"), "10 class names", 2),
        (("nine.png", "zoo:digits-standard", "--classes", "none.txt"), "none.txt", 2),
        (("nine.png", "zoo:digits-standard", "--out", "no/where.png"), "--out", 3),
    ],
)
def test_what_cannot_be_meant(run, digit, folder, words, said: str, code: int) -> None:
    (folder / "text.png").write_text("no picture")
    result = run("flip", *words, code=code)
    assert said in result.stderr
    assert "fix:" in result.stderr
    assert result.stdout == ""


def test_all_that_is_wrong_with_the_flags_is_told_at_once(run, digit) -> None:
    words = ("--threat", "linf", "--attack", "nothing")
    result = run("flip", digit, "zoo:digits-standard", *words, code=2)
    assert "NORM:EPS" in result.stderr


@pytest.mark.parametrize(
    ("text", "label"), [("3", 3), ("GIBBON", 3), ("giant", 1), ("panda bear", 1), ("tinca", 0)]
)
def test_a_class_by_number_name_or_part(text: str, label: int) -> None:
    assert find_class(text, NAMES, 4) == label


@pytest.mark.parametrize("text", ["panda", "4", "", "gibon", "a"])
def test_a_class_that_is_none_or_several(text: str) -> None:
    with pytest.raises(UserError):
        find_class(text, NAMES, 4)
