"""`robustkit patch`: files of patches, pictures with a patch on them, sheets of paper."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from robustkit.attacks.patch import Patch
from robustkit.cli import cli
from robustkit.loading import load
from robustkit.loading.folder import read_picture
from robustkit.verbs.patches import read_patch, rounded, sheet, write_patch


def run(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(word) for word in ("patch", *words)])
    assert result.exit_code == code, result.output
    return result


def some_patch(height: int = 4, width: int = 6, channels: int = 3) -> Patch:
    pixels = torch.rand(channels, height, width, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(height, width, dtype=torch.bool)
    mask[0, 0] = False
    return rounded(Patch(pixels, mask))


def write_pictures(folder: Path) -> dict[str, np.ndarray]:
    """A picture in a class folder and a grey one of another size."""
    noise = np.random.default_rng(0)
    arrays = {
        "stop/a.png": noise.integers(0, 256, (12, 16, 3), dtype=np.uint8),
        "b.png": noise.integers(0, 256, (20, 9), dtype=np.uint8),
    }
    for name, array in arrays.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(folder / name)
    return arrays


@pytest.mark.parametrize("channels", [1, 3])
def test_a_file_gives_back_its_patch(tmp_path: Path, channels: int) -> None:
    patch, facts = some_patch(channels=channels), {"target": 3, "model": "\u00e9\x1b"}
    write_patch(tmp_path / "new" / "p.png", patch, facts)
    pixels, mask = read_patch(tmp_path / "new" / "p.png")[0]
    assert torch.equal(pixels, patch.pixels)
    assert torch.equal(mask, patch.mask)
    assert read_patch(tmp_path / "new" / "p.png")[1] == facts


def test_training_writes_a_patch_that_harms_more_than_noise(tmp_path: Path) -> None:
    out = tmp_path / "p.png"
    words = ("train", "zoo:digits-standard", "--size", "4x4", "--to", 3, "--steps", 60)
    facts = json.loads(run(*words, "--out", out, "--json").stdout)
    assert facts["measured_on"] > 100
    assert facts["fooled"] > facts["fooled_by_noise"] + 0.1
    patch, kept = read_patch(out)
    assert tuple(patch.pixels.shape) == (1, 4, 4)
    assert kept["fooled"] == facts["fooled"]
    assert kept["model"] == "zoo:digits-standard"
    assert "%" in run("train", "zoo:digits-standard", "--steps", 2, "--samples", 9, "--to", 3,
                      "--size", "0.2", "--shape", "round", "--out", out).stdout  # fmt: skip


def test_training_takes_an_outline_of_ones_own(tmp_path: Path) -> None:
    drawn = np.zeros((20, 30, 4), dtype=np.uint8)
    drawn[:10, :15] = 255
    Image.fromarray(drawn).save(tmp_path / "outline.png")
    words = ("train", "zoo:digits-standard", "--size", "4x4", "--steps", 2, "--samples", 9,
             "--printable", 1, "--out", tmp_path / "p.png")  # fmt: skip
    run(*words, "--mask", tmp_path / "outline.png")
    mask = read_patch(tmp_path / "p.png")[0].mask
    assert mask[:2, :2].all()
    assert int(mask.sum()) == 4
    Image.fromarray(np.zeros((9, 9, 4), dtype=np.uint8)).save(tmp_path / "none.png")
    assert "opaque somewhere" in run(*words, "--mask", tmp_path / "none.png", code=2).stderr
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert "can be read" in run(*words, "--mask", tmp_path / "bad.png", code=4).stderr


def test_upright_it_is_pasted_and_nothing_else_differs(tmp_path: Path) -> None:
    before, patch = write_pictures(tmp_path / "in"), some_patch()
    write_patch(tmp_path / "p.png", patch, {})
    words = ("apply", tmp_path / "p.png", tmp_path / "in", "--out", tmp_path / "out")
    assert json.loads(run(*words, "--top", 5, "--left", 2, "--json").stdout)["pictures"] == 2
    inside = patch.mask.numpy()
    colours = patch.pixels.mul(255).byte().permute(1, 2, 0).numpy()
    for name, array in before.items():
        after = np.array(Image.open(tmp_path / "out" / name))
        wanted = np.repeat(array[..., None], 3, 2) if array.ndim == 2 else array.copy()
        wanted[5:9, 2:8][inside] = colours[inside]
        assert np.array_equal(after, wanted)


def test_otherwise_it_is_drawn_by_the_seed(tmp_path: Path) -> None:
    before = write_pictures(tmp_path / "in")
    write_patch(tmp_path / "p.png", some_patch(), {})
    for name, seed in (("one", 1), ("again", 1), ("two", 2)):
        run("apply", tmp_path / "p.png", tmp_path / "in", "--out", tmp_path / name, "--seed", seed)
    one, again, two = (
        np.array(Image.open(tmp_path / name / "stop/a.png")) for name in ("one", "again", "two")
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, two)
    changed = (one != before["stop/a.png"]).any(2).sum()
    assert 10 <= changed <= 40


def test_no_picture_takes_the_place_of_another(tmp_path: Path) -> None:
    write_patch(tmp_path / "p.png", some_patch(), {})
    (tmp_path / "in").mkdir()
    for level, name in enumerate(("a.png", "a.bmp", "b.bmp")):
        Image.new("RGB", (12, 12), (90 * level,) * 3).save(tmp_path / "in" / name)
    run("apply", tmp_path / "p.png", tmp_path / "in", "--out", tmp_path / "out", "--top", 0)
    levels = {
        path.name: Image.open(path).getpixel((11, 11)) for path in (tmp_path / "out").iterdir()
    }
    assert levels == {"a.png": (0,) * 3, "a.bmp.png": (90,) * 3, "b.png": (180,) * 3}


def published(reference: Path, number: int, path: Path) -> int:
    """One of the ten patches of ImageNet-Patch as a PNG at `path`; returns its target."""
    with np.load(reference / "imagenet-patch/patches.npz") as known:
        colours, mask = known["patch"][number], known["mask"][number]
        array = np.concatenate((colours, mask[None])).transpose(1, 2, 0)
        Image.fromarray((array * 255).round().astype(np.uint8), "RGBA").save(path)
        return int(known["target"][number])


def test_published_patches_are_pasted_to_the_bit(reference: Path, tmp_path: Path) -> None:
    with np.load(reference / "imagenet/samples-100.npz") as known:
        before = known["x"][0].transpose(1, 2, 0)
    (tmp_path / "in").mkdir()
    Image.fromarray(before).save(tmp_path / "in/a.png")
    for number in range(10):
        published(reference, number, tmp_path / f"{number}.png")
        words = ("--out", tmp_path / "out", "--top", 87, "--left", 87)
        run("apply", tmp_path / f"{number}.png", tmp_path / "in", *words)
        wanted = before.copy()
        wanted[87:137, 87:137] = np.array(Image.open(tmp_path / f"{number}.png"))[..., :3]
        assert np.array_equal(np.array(Image.open(tmp_path / "out/a.png")), wanted)


@pytest.mark.slow
def test_a_published_patch_leads_googlenet_to_its_target(reference: Path, tmp_path: Path) -> None:
    folder, target = reference / "imagenet", published(reference, 1, tmp_path / "p.png")
    model = load(folder / "googlenet.safetensors", arch="nets:googlenet", preprocess="none")
    with np.load(folder / "samples-100.npz") as known:
        kept = np.flatnonzero(known["y"] != target)[:30]
        pictures, labels = known["x"][kept], torch.from_numpy(known["y"][kept])
    (tmp_path / "in").mkdir()
    for number, picture in enumerate(pictures):
        Image.fromarray(picture.transpose(1, 2, 0)).save(tmp_path / f"in/{number:02}.png")
    run("apply", tmp_path / "p.png", tmp_path / "in", "--out", tmp_path / "out")
    answers = {}
    for name in ("in", "out"):
        files = sorted((tmp_path / name).iterdir())
        x = torch.stack([read_picture(file) for file in files]).float() / 255
        with model.frozen(), torch.no_grad():
            answers[name] = model(x).argmax(1)
    assert not (answers["in"] == target).any()
    assert (answers["out"] == target).float().mean() > 0.15
    right = {name: (answer == labels).float().mean() for name, answer in answers.items()}
    assert right["out"] < right["in"] - 0.2


def test_a_sheet_has_the_size_that_was_asked_for(tmp_path: Path) -> None:
    write_patch(tmp_path / "p.png", Patch(torch.zeros(3, 2, 4), torch.ones(2, 4) > 0), {})
    words = ("print", tmp_path / "p.png", "--width", 8, "--dpi", 127, "--json")
    facts = json.loads(run(*words).stdout)
    with Image.open(facts["sheet"]) as page:
        assert page.info["dpi"] == pytest.approx((127, 127), abs=0.1)
        assert page.size == (1050, 1485)
        black = np.array(page.convert("L")) == 0
    columns = black[300].nonzero()[0]
    assert facts["copies"] == 2 * 6
    # 50 dots a centimetre: 8 cm wide from a margin of 1 cm, then half a centimetre of white.
    assert columns[0] == 50
    assert columns[400] == 50 + 425
    assert black[:, 60].sum() == 6 * 200


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("apply", "large.png", "in"), 2, "larger"),
        (("apply", "p.png", "in", "--top", "9"), 2, "inside a picture"),
        (("apply", "broken.png", "in"), 4, "broken.png"),
        (("apply", "nothing.png", "in"), 2, "nothing.png"),
        (("apply", "p.png", "empty"), 2, "pictures"),
        (("apply", "p.png", "in", "--out", "in/out"), 2, "outside"),
        (("print", "p.png", "--width", "30"), 2, "cm"),
        (("print", "p.png", "--width", "0"), 2, "cm"),
        (("print", "p.png", "--dpi", "0"), 2, "dpi"),
        (("print", "broken.png"), 4, "broken.png"),
        (("train", "zoo:digits-standard", "--size", "9x9"), 2, "larger"),
        (("train", "zoo:digits-standard", "--size", "2"), 2, "patch"),
        (("train", "zoo:digits-standard", "--size", "0.001"), 2, "pixel"),
        (("train", "zoo:digits-standard", "--steps", "0"), 2, "steps"),
        (("train", "zoo:digits-standard", "--to", "77"), 2, "class"),
        (("train", "zoo:digits-standard", "--out", "broken.png/p.png"), 3, "written"),
    ],
)
def test_what_cannot_be_done_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "in")
    (tmp_path / "empty").mkdir()
    write_patch(tmp_path / "p.png", some_patch(), {})
    write_patch(tmp_path / "large.png", some_patch(13, 4), {})
    good = (tmp_path / "p.png").read_bytes()
    (tmp_path / "broken.png").write_bytes(good[:60])
    assert said in run(*words, code=code).stderr


def test_a_grey_patch_can_be_printed() -> None:
    page, count = sheet(some_patch(channels=1), 18.9, "a4", 50)
    assert count == 2
    assert page.mode == "RGB"
