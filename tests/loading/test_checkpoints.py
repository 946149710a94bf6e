from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from robustkit.errors import RefusedError, UserError
from robustkit.loading import inspect_file, load, open_samples
from robustkit.model import Classifier
from robustkit.preprocess import Preprocess

FACTORY = """
from torch import nn
from widths import HIDDEN

def make(classes=3):
    return nn.Sequential(nn.Flatten(), nn.Linear(16, HIDDEN), nn.BatchNorm1d(HIDDEN),
                         nn.Linear(HIDDEN, classes))

def fails():
    raise KeyError("no such backbone")

def weights():
    return {}

ready = make()
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "widths.py").write_text("HIDDEN = 5\n")
    (tmp_path / "arch.py").write_text(FACTORY)
    return tmp_path


ARCH = "arch.py:make"


@pytest.fixture
def net(here: Path) -> nn.Module:
    module: nn.Module = load(f"py:{ARCH}").module
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return module


def same(model: Classifier, net: nn.Module) -> bool:
    x = torch.rand(4, 1, 4, 4)
    return torch.equal(model.module.eval()(x), net.eval()(x))


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def spoilt(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.zeros_like(tensor) for name, tensor in state.items()}


WRAPPINGS: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "bare": (lambda s: s, ""),
    "state_dict": (lambda s: {"state_dict": s, "epoch": 3}, "'state_dict', beside epoch"),
    "model": (lambda s: {"model": s, "args": Namespace(lr=0.1)}, "'model', beside args"),
    "net": (lambda s: {"net": s, "acc": np.float64(93.1)}, "'net', beside acc"),
    "ema-first": (lambda s: {"state_dict": spoilt(s), "state_dict_ema": s}, "'state_dict_ema'"),
    "model-ema-first": (lambda s: {"model": spoilt(s), "model_ema": s}, "'model_ema'"),
    "parallel": (lambda s: prefixed(s, "module."), "'module.' taken from"),
    "compiled": (lambda s: prefixed(s, "_orig_mod."), "'_orig_mod.' taken from"),
    "compiled-parallel": (lambda s: prefixed(s, "module._orig_mod."), "'_orig_mod.'"),
    "compiled-part": (
        lambda s: {n.replace("1.", "1._orig_mod.", 1): t for n, t in s.items()},
        "'_orig_mod.' taken from 2",
    ),
    "averaged": (
        lambda s: {"n_averaged": torch.tensor(7), **prefixed(s, "module.")},
        "running average",
    ),
    "lightning": (
        lambda s: {
            "pytorch-lightning_version": "2.6.0",
            "state_dict": {**prefixed(s, "net."), "loss.weight": torch.ones(3)},
        },
        "1 other tensors left out: loss.weight",
    ),
    "backbone": (lambda s: prefixed(s, "backbone."), "'backbone.' taken from"),
    "half-precision": (lambda s: {n: t.half() for n, t in s.items()}, "stored as float16"),
    "before-batch-counters": (
        lambda s: {n: t for n, t in s.items() if "num_batches" not in n},
        "",
    ),
}


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("name", WRAPPINGS)
def test_every_usual_wrapping_gives_the_same_network(
    here: Path, net: nn.Module, name: str, old: bool
) -> None:
    wrap, note = WRAPPINGS[name]
    path = here / "weights.bin"
    if name == "half-precision":
        net = net.half().float()
    torch.save(wrap(dict(net.state_dict())), path, _use_new_zipfile_serialization=not old)
    model = load(path, arch=ARCH, preprocess="none")
    assert same(model, net)
    assert note in " ".join(model.notes)
    assert inspect_file(path).loadable


def test_safetensors_bring_hash_name_source_and_notes(here: Path, net: nn.Module) -> None:
    save_file(dict(net.state_dict()), here / "tiny.safetensors", metadata={"epoch": "9"})
    model = load("tiny.safetensors", arch=ARCH, classes=("a", "b", "c"))
    found = inspect_file("tiny.safetensors")
    assert same(model, net)
    assert (model.name, model.source, model.classes) == (
        "tiny",
        "tiny.safetensors",
        ("a", "b", "c"),
    )
    assert model.sha256 == found.sha256
    assert model.notes == (
        "no preprocessing was given: pixels in [0, 1] go straight into the network",
    )
    assert (found.form, found.metadata) == ("safetensors", {"epoch": "9"})
    assert ("1.weight", "F32", (5, 16)) in found.tensors


def test_state_key_names_the_place(here: Path, net: nn.Module) -> None:
    state = dict(net.state_dict())
    torch.save({"model": spoilt(state), "teacher": state}, here / "a.pt")
    assert same(load("a.pt", arch=ARCH, state_key="teacher"), net)
    with pytest.raises(UserError, match=r"'student' in a\.pt, got model, teacher"):
        load("a.pt", arch=ARCH, state_key="student")


def test_inspection_names_tensors_and_settings_of_a_wrapped_checkpoint(net: nn.Module) -> None:
    torch.save({"state_dict": net.state_dict(), "epoch": 3}, "a.pt")
    found = inspect_file("a.pt")
    assert ("state_dict.3.weight", "float32", (3, 5)) in found.tensors
    assert found.metadata == {"epoch": "3"}
    assert found.dangers == ()


def test_wrong_number_of_classes_is_said_so(net: nn.Module) -> None:
    torch.save(net.state_dict(), "a.pt")
    with pytest.raises(
        RefusedError, match=r"3\.weight is \[3, 5\] in the file, \[7, 5\] in the mo"
    ):
        load("a.pt", arch=f"{ARCH}?classes=7")
    assert same(load("a.pt", arch=f"{ARCH}?classes=3"), net)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "got a state dict of 9 tensors and no --arch"),
        ({"arch": "nowhere.at.all:make"}, "No module named 'nowhere'"),
        ({"arch": "gone.py:make"}, "no file gone.py"),
        ({"arch": "arch.py:mkae"}, "choose one of"),
        ({"arch": "arch.py"}, "pkg.mod:factory or file.py:factory"),
        ({"arch": "arch.py:fails"}, "KeyError: 'no such backbone'"),
        ({"arch": "arch.py:weights"}, "got dict"),
        ({"arch": ARCH, "preprocess": "imagnet"}, "a preprocessing"),
    ],
)
def test_what_cannot_be_meant_is_a_user_error(
    net: nn.Module, options: dict[str, Any], says: str
) -> None:
    torch.save(net.state_dict(), "a.pt")
    with pytest.raises(UserError, match=says):
        load("a.pt", **options)


@pytest.mark.parametrize("source", ["gone.pt", "nosuchscheme:resnet18", "https://example.org/a.pt"])
def test_a_missing_file_lists_what_could_be_given(source: str) -> None:
    with pytest.raises(UserError, match="torchvision:NAME, timm:NAME, hf:ORG/NAME"):
        load(source)


def test_modules_and_classifiers_pass_through(net: nn.Module) -> None:
    model = load(net, preprocess=Preprocess("half", (0.5,), (0.5,)))
    assert load(model) is model
    assert load("py:arch.py:ready").name == "ready"
    with pytest.raises(UserError, match="a Classifier as it is"):
        load(model, preprocess="imagenet")
    with pytest.raises(UserError, match="file only"):
        load("zoo:digits-standard", arch=ARCH)
    with pytest.raises(UserError, match="an ONNX file"):
        load("onnx:model.onnx")


def test_the_working_directory_is_importable_only_while_loading(here: Path) -> None:
    import sys

    load(f"py:{ARCH}")
    assert str(here) not in sys.path


REFERENCE = [
    ("mnist/lenet5-adversarial", "nets:lenet5", "none", "mnist/test-1000", 500, 0.978),
    ("cifar10/resnet20-standard", "nets:resnet20", "imagenet", "cifar10/test-1000", 200, 0.91),
]


@pytest.mark.parametrize(("weights", "arch", "preprocess", "data", "n", "clean"), REFERENCE)
def test_reference_checkpoints_score_what_was_measured(
    reference: Path, weights: str, arch: str, preprocess: str, data: str, n: int, clean: float
) -> None:
    model = load(reference / f"{weights}.safetensors", arch=arch, preprocess=preprocess)
    samples = open_samples(reference / f"{data}.npz", samples=n)
    with model.frozen(), torch.no_grad():
        right = (model(samples.pixels(slice(None))).argmax(1) == samples.y).sum()
    assert int(right) == round(clean * n)
