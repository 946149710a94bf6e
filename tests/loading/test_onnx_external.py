"""Weights beside an ONNX file: only where they are allowed, and only from its own folder."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx.external_data_helper import set_external_data

from robustkit.errors import RefusedError
from robustkit.loading import Trust, inspect_file, load
from tests.loading.test_onnx import make

WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4)
ALLOWED = Trust(onnx_external=True)


def linear(path: Path, location: str, **where: int) -> Path:
    """A linear network whose weight is said to lie in `location`."""
    flat = onnx.helper.make_node("Flatten", ["x"], ["f"])
    gemm = onnx.helper.make_node("Gemm", ["f", "w"], ["y"], transB=1)
    make(path, [flat, gemm], {"w": WEIGHT})
    model = onnx.load_model(path)
    weight = model.graph.initializer[0]
    set_external_data(weight, location, **where)
    weight.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    return path


def test_a_file_beside_it_is_read_where_that_is_allowed(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx", "m.bin", offset=8, length=48)
    (tmp_path / "m.bin").write_bytes(b"\0" * 8 + WEIGHT.tobytes() + b"\1" * 8)
    with pytest.raises(RefusedError, match="--allow-onnx-external"):
        load(path)
    for trust in (Trust(unsafe_pickle=True, torchscript=True, pt2=True), Trust()):
        with pytest.raises(RefusedError, match="holds its weights itself"):
            load(f"onnx:{path}", trust=trust)
    model = load(f"onnx:{path}", trust=ALLOWED)
    x = torch.rand(2, 1, 2, 2)
    torch.testing.assert_close(model(x), x.flatten(1) @ torch.from_numpy(WEIGHT).T)
    assert "--allow-onnx-external" in model.notes[0]
    assert "m.bin" in model.notes[0]
    assert not inspect_file(path).loadable


def test_the_hash_covers_the_files_beside_it(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx", "m.bin")
    (tmp_path / "m.bin").write_bytes(WEIGHT.tobytes())
    one = load(path, trust=ALLOWED).sha256
    (tmp_path / "m.bin").write_bytes((WEIGHT + 1).tobytes())
    assert load(path, trust=ALLOWED).sha256 != one


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/passwd", "a/../../secret", "c:secret", "..", "", "deep/er"]
)
def test_no_other_folder_is_read(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_bytes(WEIGHT.tobytes())
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "er").write_bytes(WEIGHT.tobytes())
    path = linear(tmp_path / "in" / "m.onnx", location)
    with pytest.raises(RefusedError, match="names of files beside"):
        load(path, trust=ALLOWED)


def test_links_pipes_and_folders_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(WEIGHT.tobytes())
    folder = tmp_path / "in"
    (folder / "folder").mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pipe")
    for name in ("link", "pipe", "folder", "missing"):
        with pytest.raises(RefusedError, match="an ordinary file beside the model"):
            load(linear(folder / "m.onnx", name), trust=ALLOWED)


@pytest.mark.parametrize(
    "where",
    [{"offset": 8}, {"length": 40}, {"offset": -8}, {"offset": 2**62}, {"length": 2**62}],
)
def test_data_of_another_length_are_refused(tmp_path: Path, where: dict[str, int]) -> None:
    (tmp_path / "m.bin").write_bytes(WEIGHT.tobytes())
    path = linear(tmp_path / "m.onnx", "m.bin", **where)
    with pytest.raises(RefusedError, match=r"bytes at|that can be read"):
        load(path, trust=ALLOWED)


def test_a_constant_of_a_node_is_no_way_around(tmp_path: Path) -> None:
    value = onnx.numpy_helper.from_array(WEIGHT, "hidden")
    set_external_data(value, "../secret")
    value.ClearField("raw_data")
    nodes = [
        onnx.helper.make_node("Constant", [], ["w"], value=value),
        onnx.helper.make_node("Flatten", ["x"], ["f"]),
        onnx.helper.make_node("Gemm", ["f", "w"], ["y"], transB=1),
    ]
    (tmp_path / "secret").write_bytes(WEIGHT.tobytes())
    (tmp_path / "in").mkdir()
    path = make(tmp_path / "in" / "m.onnx", nodes, {})
    with pytest.raises(RefusedError, match="holds its weights itself"):
        load(path)
    with pytest.raises(RefusedError, match="names of files beside"):
        load(path, trust=ALLOWED)
