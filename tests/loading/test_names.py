import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from robustkit.errors import RefusedError, ToolError, UserError
from robustkit.loading import load, open_samples
from robustkit.loading.extras import need
from tests.loading.corpus import CORPUS, MARK, write

CHECKPOINT = "resnet18-f37072fd.pth"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def no_network(*arguments: object, **options: object) -> None:
    raise OSError("no network")


def test_torchvision_weights_are_read_from_the_cache_with_their_preprocessing(cache: Path) -> None:
    import torchvision

    torch.manual_seed(3)
    net = torchvision.models.resnet18()
    torch.save(net.state_dict(), cache / CHECKPOINT)
    model = load("torchvision:resnet18")
    assert torch.equal(model.module.fc.weight, net.fc.weight)
    assert model.preprocess.describe() == {
        "name": "torchvision:resnet18",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "size": [224, 224],
    }
    assert model.classes[388] == "giant panda"
    assert (len(model.sha256), model.source) == (64, "torchvision:resnet18")
    assert load("torchvision:resnet18", preprocess="none").preprocess.mean == ()


def test_hostile_file_in_the_cache_is_refused(cache: Path) -> None:
    for name in ("reduce-in-zip", "reduce-in-legacy", "web-page", "whole-model"):
        write(cache / CHECKPOINT, CORPUS[name][0])
        with pytest.raises(RefusedError):
            load("torchvision:resnet18")
    assert not Path(MARK).exists()


def test_torchvision_without_network_says_where_to_put_the_file(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(ToolError, match=rf"no network\nfix: put {CHECKPOINT} into {cache}"):
        load("torchvision:resnet18")
    model = load("torchvision:squeezenet1_1?weights=none")
    assert model.notes == ("random weights, as asked for",)
    assert isinstance(model.module, nn.Module)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("torchvision:resnet81", "did you mean resnet18"),
        ("torchvision:resnet18?weights=IMAGENET1K_V7", "IMAGENET1K_V1"),
        ("torchvision:fcn_resnet50", "an image classifier"),
    ],
)
def test_unknown_names_get_a_suggestion(cache: Path, name: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        load(name)


def test_missing_extras_name_the_command_that_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for package in ("timm", "transformers", "datasets"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ToolError, match="pip install timm"):
        load("timm:resnet18")
    with pytest.raises(ToolError, match="pip install transformers"):
        load("hf:org/name")
    with pytest.raises(ToolError, match="pip install datasets"):
        open_samples("hf:cifar10")
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(ToolError, match="pip install torchvision"):
        need("torchvision.models", why="a test")


def test_timm_brings_its_data_configuration(cache: Path) -> None:
    pytest.importorskip("timm", exc_type=ImportError)
    model = load("timm:resnet10t?weights=none&num_classes=4")
    assert model.preprocess.mean == (0.485, 0.456, 0.406)
    assert model.preprocess.size == (176, 176)
    with model.frozen(), torch.no_grad():
        assert model(torch.rand(1, 3, 32, 32)).shape == (1, 4)
    with pytest.raises(UserError, match="did you mean"):
        load("timm:resnet18x")


def test_hugging_face_folder_brings_processor_and_labels(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", exc_type=ImportError)
    config = transformers.ViTConfig(
        image_size=16, patch_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, id2label={0: "cat", 1: "dog", 2: "eel"},
    )  # fmt: skip
    net = transformers.ViTForImageClassification(config).eval()
    net.save_pretrained(tmp_path)
    transformers.ViTImageProcessor(
        size={"height": 16, "width": 16}, image_mean=[0.4] * 3, image_std=[0.2] * 3
    ).save_pretrained(tmp_path)
    model = load(f"hf:{tmp_path}")
    assert model.classes == ("cat", "dog", "eel")
    assert model.preprocess.size == (16, 16)
    assert model.preprocess.mean == pytest.approx((0.4,) * 3)
    x = torch.rand(2, 3, 16, 16)
    with model.frozen(), torch.no_grad():
        assert torch.allclose(model(x), net((x - 0.4) / 0.2).logits, atol=1e-5)


def test_hugging_face_folder_with_a_hostile_pickle_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers", exc_type=ImportError)
    write(tmp_path / "pytorch_model.bin", CORPUS["reduce-in-zip"][0])
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(RefusedError, match=r"posix\.system"):
        load(f"hf:{tmp_path}")
    assert not (tmp_path / MARK).exists()


def test_hugging_face_data_sets_are_read_by_the_kind_of_their_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("datasets", exc_type=ImportError)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    for label, colour in (("go", 10), ("stop", 200)):
        (tmp_path / "signs" / label).mkdir(parents=True)
        Image.new("L", (4, 4), colour).save(tmp_path / "signs" / label / "1.png")
    samples = open_samples(f"hf:imagefolder?split=train&data_dir={tmp_path / 'signs'}")
    assert samples.classes == ("go", "stop")
    assert samples.x[:, 0, 0, 0].tolist() == [10, 200]
    assert samples.y.tolist() == [0, 1]
    with pytest.raises(UserError, match="image=COLUMN"):
        open_samples(f"hf:imagefolder?split=train&image=img&data_dir={tmp_path / 'signs'}")


def test_zoo_names_reach_the_embedded_default() -> None:
    zoo = pytest.importorskip("robustkit.zoo")
    assert load(f"zoo:{next(iter(zoo.MODELS))}").sha256
    assert len(open_samples(f"zoo:{next(iter(zoo.DATASETS))}", samples=3)) == 3


def test_importing_the_package_leaves_the_heavy_libraries_alone() -> None:
    code = (
        "import sys, robustkit.loading as _;"
        "heavy = {'torchvision', 'timm', 'transformers', 'datasets'};"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
