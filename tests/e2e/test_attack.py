"""`robustkit attack`: what it writes is what it says."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from robustkit.audit.referee import eight_bit
from robustkit.zoo import load_model, load_samples

WORDS = ("attack", "zoo:digits-standard", "--data", "zoo:digits", "--samples", "40")
EPS = 0.1


def records(folder: Path) -> list[dict[str, object]]:
    lines = (folder / "records.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_every_example_fools_the_model_inside_the_threat(run, folder) -> None:
    result = run(*WORDS, "--threat", f"linf:{EPS}", "--out", "made", "--json")
    summary = json.loads(result.stdout)
    model, samples = load_model("digits-standard"), load_samples("digits").take(40)
    made = load_file(folder / "made/examples.safetensors")
    assert len(made["x_adv"]) == summary["written"] == summary["fooled"] > 20
    index = made["index"]
    x, y = samples.pixels(index), samples.y[index]
    with model.frozen(), torch.no_grad():
        prediction = model(made["x_adv"]).argmax(1)
    assert (prediction != y).all()
    assert (prediction == made["prediction"]).all()
    assert (made["y"] == y).all()
    assert float((made["x_adv"] - x).abs().max()) <= EPS * (1 + 1e-6) + 2e-7
    assert float(made["x_adv"].min()) >= 0
    assert float(made["x_adv"].max()) <= 1


def test_one_record_a_sample(run, folder) -> None:
    run(*WORDS, "--threat", "linf:0.1", "--out", "made")
    rows = records(folder / "made")
    samples = load_samples("digits").take(40)
    assert [row["id"] for row in rows] == list(samples.ids)
    assert [row["label"] for row in rows] == samples.y.tolist()
    fooled = [row["index"] for row in rows if row["outcome"] == "fooled"]
    assert fooled == load_file(folder / "made/examples.safetensors")["index"].tolist()


def test_pictures_in_eight_bits_stay_inside_and_fool(run, folder) -> None:
    result = run(*WORDS, "--threat", f"linf:{EPS}", "--out", "made", "--format", "png", "--json")
    summary = json.loads(result.stdout)
    model, samples = load_model("digits-standard"), load_samples("digits").take(40)
    shown = [row for row in records(folder / "made") if "file" in row]
    assert len(shown) == summary["written"] > 20
    assert len(list((folder / "made").glob("*.png"))) == len(shown)
    for row in shown:
        with Image.open(folder / "made" / str(row["file"])) as picture:
            pixels = torch.from_numpy(np.array(picture))
        x_adv = pixels[None, None].float().div(255)
        x = samples.pixels([int(str(row["index"]))])
        assert float((x_adv - x).abs().max()) <= EPS * (1 + 1e-6) + 2e-7
        with model.frozen(), torch.no_grad():
            assert int(model(x_adv).argmax()) == row["prediction"] != row["label"]


def test_a_success_that_eight_bits_undo_is_not_written(run, folder) -> None:
    words = ("--threat", "linf:0.02", "--format", "png", "--out", "made", "--json")
    summary = json.loads(run(*WORDS[:-1], "500", *words).stdout)
    assert summary["fooled"] > summary["rounded_off"] > 0
    assert summary["written"] == summary["fooled"] - summary["rounded_off"]
    assert len(list((folder / "made").glob("*.png"))) == summary["written"]


def test_the_result_does_not_depend_on_the_batch(run, folder) -> None:
    for size in ("3", "64"):
        run(*WORDS, "--threat", "l2:0.5", "--batch-size", size, "--out", f"by-{size}")
    first, second = (records(folder / f"by-{size}") for size in ("3", "64"))
    assert [row["outcome"] for row in first] == [row["outcome"] for row in second]


def test_targets(run, folder) -> None:
    words = ("--threat", "linf:0.2", "--to", "3", "--out", "made")
    run(*WORDS, *words)
    rows = records(folder / "made")
    assert {row["prediction"] for row in rows if row["outcome"] == "fooled"} == {3}
    assert all(row["outcome"] == "not attacked" for row in rows if row["label"] == 3)


def test_rounding_goes_towards_the_original_and_never_past_a_level() -> None:
    levels = torch.arange(256) / 255
    assert eight_bit(levels, torch.rand(256)).tolist() == list(range(256))
    x = torch.randint(0, 256, (10_000,)) / 255
    x_adv = (x + torch.empty(10_000).uniform_(-0.05, 0.05)).clamp(0, 1)
    rounded = eight_bit(x_adv, x).float() / 255
    assert ((rounded - x).abs() <= (x_adv - x).abs() + 1e-6).all()
    assert ((rounded - x_adv).abs() < 1 / 255).all()


def test_what_cannot_be_meant(run, folder) -> None:
    assert "--data" in run("attack", "zoo:digits-standard", code=2).stderr
    assert "--out" in run(*WORDS, code=2).stderr
    wrong = run(*WORDS, "--attack", "nothing", "--samples", "0", "--out", "made", code=2).stderr
    assert "'nothing'" in wrong
    assert "samples >= 1" in wrong
    assert "a class from 0 to 9" in run(*WORDS, "--to", "12", "--out", "made", code=2).stderr
    run(*WORDS, "--attack", "fgsm", "--out", "made")
    again = run(*WORDS, "--attack", "fgsm", "--out", "made", code=2).stderr
    assert "choose another --out" in again


def test_a_model_that_takes_other_pictures(run, folder) -> None:
    (folder / "nets.py").write_text(
        "from torch import nn\n"
        "def small(): return nn.Sequential(nn.Flatten(), nn.Linear(65, 10))\n"
        "def few(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))\n"
    )
    words = ("--data", "zoo:digits", "--out", "made")
    assert "(1, 8, 8)" in run("attack", "py:nets.py:small", *words, code=4).stderr
    assert "labels from 0 to 1" in run("attack", "py:nets.py:few", *words, code=4).stderr
    assert not (folder / "made").exists()


def test_nothing_to_attack_is_no_error(run, folder) -> None:
    summary = json.loads(run(*WORDS[:-1], "1", "--to", "0", "--out", "made", "--json").stdout)
    assert (summary["samples"], summary["attacked"], summary["written"]) == (1, 0, 0)
    run(*WORDS[:-1], "1", "--to", "0", "--out", "pictures", "--format", "png")


def test_nothing_is_attacked_for_a_folder_that_cannot_be(run, folder, monkeypatch) -> None:
    (folder / "file").write_text("")
    unasked = "robustkit.verbs.examples.make_examples"
    monkeypatch.setattr(unasked, lambda *_, **__: pytest.fail("attacked first"))
    error = run(*WORDS, "--threat", "linf:0.1", "--out", "file/made", code=3).stderr
    assert "expected a folder that can be written" in error
