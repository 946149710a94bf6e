from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from robustkit.errors import RefusedError, ToolError, UserError
from robustkit.loading import Samples, open_samples
from robustkit.loading.folder import read_picture


def picture(path: Path, colour: Any, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "signs"
    picture(root / "stop" / "b.png", (255, 0, 0))
    picture(root / "stop" / "a.png", (0, 255, 0))
    picture(root / "go" / "z" / "deep.png", (0, 0, 255))
    (root / ".hidden").mkdir()
    (root / "stop" / "notes.txt").write_text("not a picture")
    return root


def test_folder_gives_classes_in_turn_with_paths_as_ids(folder: Path) -> None:
    samples = open_samples(folder)
    assert samples.ids == ("go/z/deep.png", "stop/a.png", "stop/b.png")
    assert samples.y.tolist() == [0, 1, 1]
    assert samples.classes == ("go", "stop")
    assert samples.x.shape == (3, 3, 4, 6)
    assert samples.x[:, :, 0, 0].tolist() == [[0, 0, 255], [0, 255, 0], [255, 0, 0]]
    assert samples.name == "signs"
    assert len(open_samples(folder, samples=2)) == 2


def test_grey_pictures_stay_grey_unless_one_has_colour(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "1.png", 7, mode="L")
    assert open_samples(tmp_path).x.shape == (1, 1, 4, 6)
    picture(tmp_path / "a" / "2.png", (1, 2, 3, 4), mode="RGBA")
    assert open_samples(tmp_path).x[:, :, 0, 0].tolist() == [[7, 7, 7], [1, 2, 3]]
    assert read_picture(tmp_path / "a" / "2.png").shape == (3, 4, 6)


def test_bad_folders_are_refused_in_words(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RefusedError, match="no class folders"):
        open_samples(tmp_path / "empty")
    (tmp_path / "empty" / "a").mkdir()
    with pytest.raises(RefusedError, match="none in its class folders"):
        open_samples(tmp_path / "empty")
    picture(folder / "stop" / "c.png", (0, 0, 0), size=(5, 5))
    with pytest.raises(RefusedError, match=r"one size, here 4x6 .*5x5 in stop/c\.png"):
        open_samples(folder)
    (folder / "go" / "a.jpg").write_bytes(b"\xff\xd8\xff no picture")
    with pytest.raises(RefusedError, match=r"go/a\.jpg"):
        open_samples(folder)


def test_picture_bomb_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15)
    with pytest.raises(RefusedError, match="decompression bomb"):
        open_samples(folder)


def test_npz_in_every_layout_and_type(tmp_path: Path) -> None:
    base = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 6), dtype=np.uint8)
    y = np.arange(5, dtype=np.int32)
    layouts = {
        "nchw": base,
        "nhwc": base.transpose(0, 2, 3, 1),
        "float32": (base / 255).astype(np.float32),
        "float64-big-endian": (base / 255).astype(">f8"),
    }
    for name, x in layouts.items():
        np.savez_compressed(tmp_path / f"{name}.npz", x=x, y=y, classes=np.array(list("abcde")))
        samples = open_samples(tmp_path / f"{name}.npz", samples=4)
        want = torch.from_numpy(base[:4]).float() / 255
        assert torch.allclose(samples.pixels(slice(None)), want, atol=1e-6), name
        assert samples.ids == ("0", "1", "2", "3")
        assert samples.classes == tuple("abcde")
    np.savez(tmp_path / "grey.npz", x=base[:, 0], y=y)
    assert open_samples(tmp_path / "grey.npz").x.shape == (5, 1, 4, 6)


def test_pixels_are_exactly_bytes_over_255_and_never_the_stored_ones() -> None:
    x = torch.arange(256, dtype=torch.uint8).view(4, 1, 8, 8)
    samples = Samples.of(x, torch.zeros(4, dtype=torch.int64))
    assert torch.equal(samples.pixels(torch.tensor([3]))[0, 0], x[3, 0].float() / 255)
    assert samples.x.dtype == torch.uint8


def test_digest_follows_content_and_nothing_else(tmp_path: Path) -> None:
    x, y = np.zeros((4, 1, 2, 2), np.uint8), np.arange(4)
    np.savez(tmp_path / "a.npz", x=x, y=y)
    np.savez_compressed(tmp_path / "b.npz", y=y, x=x)
    digest = open_samples(tmp_path / "a.npz").sha256
    assert open_samples(tmp_path / "b.npz").sha256 == digest
    assert open_samples((x, y)).sha256 == digest
    assert open_samples((x, y[::-1].copy())).sha256 != digest
    assert open_samples((x + np.uint8(1), y)).sha256 != digest
    assert open_samples((x, y), samples=3).sha256 == open_samples((x[:3], y[:3])).sha256


def test_record_and_take() -> None:
    samples = open_samples((torch.rand(5, 4, 3, 7), torch.arange(5)))
    assert samples.take(99) is samples
    assert open_samples(samples, samples=2).ids == ("0", "1")
    record = samples.take(2).record()
    assert (record.samples, record.shape, record.name) == (2, (4, 3, 7), "arrays")


def test_duplicate_ids_are_refused() -> None:
    with pytest.raises(RefusedError, match="'a' more than once"):
        Samples.of(torch.zeros(2, 1, 2, 2), torch.tensor([0, 1]), ids=["a", "a"])


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("nowhere.npz", "where there is nothing"),
        ("torchvision:CIFAR11", "a data set of torchvision"),
        ("py:tests.loading.test_samples:one", "a pair"),
        (("x",), "a pair"),
    ],
)
def test_what_cannot_be_meant_is_a_user_error(spec: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        open_samples(spec)


def test_zero_samples_cannot_be_meant() -> None:
    with pytest.raises(UserError, match="at least one sample"):
        open_samples((torch.zeros(2, 1, 2, 2), torch.zeros(2)), samples=0)


def one() -> int:
    return 1


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(3, 2, 2), torch.tensor([0, 1, 0])


def test_python_factory_gives_samples() -> None:
    samples = open_samples("py:tests.loading.test_samples:pair", samples=2)
    assert (samples.x.shape, samples.name) == ((2, 1, 2, 2), "py:tests.loading.test_samples:pair")


def test_torchvision_names_where_it_looked_and_reads_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBUSTKIT_DATA", str(tmp_path))
    with pytest.raises(ToolError, match=rf"MNIST in {tmp_path}.*\n.*download=1"):
        open_samples("torchvision:MNIST")
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = np.arange(3 * 28 * 28, dtype=np.uint8).reshape(3, 28, 28)
    head = (0x0803).to_bytes(4, "big") + b"".join(n.to_bytes(4, "big") for n in (3, 28, 28))
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        labels = (0x0801).to_bytes(4, "big") + (3).to_bytes(4, "big") + bytes([7, 2, 1])
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    samples = open_samples("torchvision:MNIST", samples=2)
    assert samples.y.tolist() == [7, 2]
    assert np.array_equal(samples.x[:, 0].numpy(), pixels[:2])
    assert samples.classes[0] == "0 - zero"
