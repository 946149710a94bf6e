"""ONNX files: converted to PyTorch with gradients, else asked as a black box; never unsafe."""

import contextlib
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustkit.cli import cli
from robustkit.errors import RefusedError, RobustkitError, UserError
from robustkit.loading import inspect_file, load
from robustkit.loading.onnx_operators import OPERATORS, Call
from robustkit.zoo import load_model

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install onnx")

X = torch.linspace(0, 1, 3 * 3 * 12 * 10).reshape(3, 3, 12, 10)


class Mixed(nn.Module):
    """Much of what exporters write, small."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.depth = nn.Conv2d(8, 8, 3, padding=(2, 1), groups=4, dilation=(2, 1))
        self.head = nn.Linear(16, 12)
        self.layer = nn.LayerNorm(12)
        self.last = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        y = nn.functional.avg_pool2d(self.depth(x), 3, 1, 1, count_include_pad=False)
        x = torch.cat((nn.functional.max_pool2d(x, 3, 1, 1), y * torch.sigmoid(y)), 1)
        x = nn.functional.pad(x, (1, 0, 0, 1)).clamp(-1, 6).transpose(2, 3)
        x = nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)
        first, second = self.head(x).chunk(2, 1)
        x = self.layer(torch.cat((first / (1 + second.abs()), second - first.mean(1, True)), 1))
        logits: Tensor = self.last(nn.functional.gelu(x.view(-1, 12))).softmax(1)
        return logits


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    net = Mixed()
    net(torch.rand(16, 3, 12, 10))  # statistics of its own
    return net.eval()


def export(net: nn.Module, path: Path, x: Tensor = X[:2], *, new: bool = False) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if new:
            pytest.importorskip("onnxscript", reason="onnxscript is not installed")
            torch.onnx.export(net, (x,), path, dynamo=True, external_data=False, verbose=False)
        else:
            torch.onnx.export(net, (x,), str(path), dynamo=False, input_names=["x"])
    return path


@pytest.mark.parametrize("new", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_converted_network_is_the_network(net: nn.Module, tmp_path: Path, new: bool) -> None:
    path = export(net, tmp_path / "net.bin", new=new)
    model = load(path)
    assert model.access == "white-box"
    assert any(note.startswith("converted from ONNX") for note in model.notes)
    x, again = X.clone().requires_grad_(), X.clone().requires_grad_()
    with model.frozen():
        torch.testing.assert_close(model(x), net(X), atol=1e-5, rtol=1e-4)
        (found,) = torch.autograd.grad(model(x)[:, 1].sum(), x)
    (expected,) = torch.autograd.grad(net(again)[:, 1].sum(), again)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-3)
    assert load(f"onnx:{path}").sha256 == model.sha256 != ""


def make(path: Path, nodes: list, weights: dict[str, np.ndarray] | None = None, **rest) -> Path:
    """A file of nodes from `x` `[n,3,4,4]` to `y`."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "graph",
        [helper.make_tensor_value_info("x", kind, rest.get("shape", ["n", 3, 4, 4]))],
        [helper.make_tensor_value_info("y", kind, ["n", "k"])],
        [onnx.numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    onnx.save_model(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def flat(name: str = "Flatten", **rest) -> list:
    return [onnx.helper.make_node(name, ["x"], ["y"], **rest)]


def test_a_name_decides_nothing(tmp_path: Path) -> None:
    path = make(tmp_path / "model.pt", flat())
    assert load(path)(torch.rand(2, 3, 4, 4)).shape == (2, 48)


def test_a_fixed_batch_is_freed_in_reshapes(tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("Reshape", ["x", "shape"], ["y"])]
    shape = {"shape": np.array([2, 48], dtype=np.int64)}
    model = load(make(tmp_path / "m.onnx", nodes, shape, shape=[2, 3, 4, 4]))
    x = torch.rand(5, 3, 4, 4)
    assert torch.equal(model(x), x.flatten(1))
    assert any("exported for batches of 2" in note for note in model.notes)


def test_an_unknown_operator_makes_a_black_box(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(OPERATORS, "Flatten")
    make(tmp_path / "m.onnx", flat(), shape=[2, 3, 4, 4])
    model = load("m.onnx")
    assert model.access == "scores"
    assert any("onnxruntime, for Flatten" in note for note in model.notes)
    x = torch.rand(5, 3, 4, 4)
    assert torch.equal(model(x), x.flatten(1))
    np.savez("data.npz", x=x.numpy(), y=x.flatten(1).argmax(1).numpy())
    words = ["audit", "onnx:m.onnx", "--data", "data.npz", "--out", "run"]
    refused = CliRunner().invoke(cli, words, prog_name="robustkit")
    assert refused.exit_code == 2
    assert "--suite blackbox or --attack square" in refused.output
    done = CliRunner().invoke(cli, [*words, "--attack", "square:queries=5"], prog_name="robustkit")
    assert done.exit_code == 0, done.output
    record = json.loads(Path("run/audit.json").read_text())
    assert any("only black-box attacks" in note for note in record["model"]["notes"])


def test_an_audit_of_a_converted_network_is_that_of_the_network(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    zoo = load_model("digits-standard")
    with zoo.frozen():
        export(zoo.module, tmp_path / "digits.onnx", torch.rand(2, 1, 8, 8))
    tail = ["--samples", "40", "--threat", "linf:0.1", "--attack", "pgd:steps=5", "--out"]
    text = "mean=" + ",".join(map(str, zoo.preprocess.mean)) if zoo.preprocess.mean else "none"
    text += ";std=" + ",".join(map(str, zoo.preprocess.std)) if zoo.preprocess.mean else ""
    begin = ["audit", "digits.onnx", "--data", "zoo:digits", "--preprocess", text]
    for words in ([*begin, *tail, "onnx"], ["audit", "zoo:digits-standard", *tail, "zoo"]):
        done = CliRunner().invoke(cli, words, prog_name="robustkit")
        assert done.exit_code == 0, done.output
    rows = [
        [
            json.loads(line)["outcome"]
            for line in Path(run, "samples.jsonl").read_text().splitlines()
        ]
        for run in ("onnx", "zoo")
    ]
    assert rows[0] == rows[1]


def test_data_outside_the_file_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "m.onnx", flat(), {"w": np.zeros(3000, dtype=np.float32)})
    model = onnx.load_model(path)
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "../../secret")
    model.graph.initializer[0].ClearField("raw_data")
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    path.write_bytes(model.SerializeToString())
    with pytest.raises(RefusedError, match="points to files outside"):
        load(path)
    assert not inspect_file(path).loadable


def test_operators_of_one_s_own_are_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "m.onnx", flat("Magic", domain="own"))
    with pytest.raises(RefusedError, match=r"own\.Magic"):
        load(path)


def test_nan_weights_are_refused(tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("Add", ["x", "w"], ["z"]),
             onnx.helper.make_node("Flatten", ["z"], ["y"])]  # fmt: skip
    path = make(tmp_path / "m.onnx", nodes, {"w": np.full((1,), np.nan, dtype=np.float32)})
    with pytest.raises(RefusedError, match="NaN in 1 of 1"):
        load(path)


@pytest.mark.parametrize("cut", [20, 60, -3])
def test_a_file_that_ends_early_is_refused(tmp_path: Path, cut: int) -> None:
    path = make(tmp_path / "m.onnx", flat(), {"w": np.zeros(30, dtype=np.float32)})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(RefusedError, match="complete ONNX file"):
        load(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(places=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), max_size=4))
def test_flipped_bytes_are_loaded_or_refused(tmp_path_factory, places) -> None:
    folder = tmp_path_factory.mktemp("flipped")
    nodes = [onnx.helper.make_node("Conv", ["x", "w"], ["z"], kernel_shape=[1, 1]),
             onnx.helper.make_node("Flatten", ["z"], ["y"])]  # fmt: skip
    path = make(folder / "m.onnx", nodes, {"w": np.ones((2, 3, 1, 1), dtype=np.float32)})
    content = bytearray(path.read_bytes())
    for at, change in places:
        content[at % len(content)] ^= change
    path.write_bytes(content)
    inspect_file(path)
    with contextlib.suppress(RobustkitError):
        model = load(f"onnx:{path}")
        with contextlib.suppress(RuntimeError, RobustkitError):
            model(torch.rand(2, 3, 4, 4))


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("kind", [nn.MaxPool2d, nn.AvgPool2d])
def test_pooling_rounds_as_it_was_told(tmp_path: Path, kind, up: bool) -> None:
    pool = nn.Sequential(kind(3, stride=2, padding=1, ceil_mode=up), nn.Flatten()).eval()
    x = torch.rand(2, 3, 8, 7)
    model = load(export(pool, tmp_path / "pool.onnx", x))
    torch.testing.assert_close(model(x), pool(x))


def test_inspection_lists_the_weights(net: nn.Module, tmp_path: Path) -> None:
    found = inspect_file(export(net, tmp_path / "net.onnx"))
    assert found.form == "onnx"
    assert found.loadable
    assert ("last.weight", "float32", (5, 12)) in found.tensors


def test_arch_and_an_onnx_file_do_not_go_together(tmp_path: Path) -> None:
    path = make(tmp_path / "m.onnx", flat())
    with pytest.raises(RefusedError, match="without --arch"):
        load(path, arch="torch.nn:Flatten")
    with pytest.raises(UserError, match="where there is none"):
        load("onnx:nothing.onnx")


@pytest.mark.parametrize(
    ("name", "inputs", "attributes", "expected"),
    [
        ("Slice", [torch.arange(12).reshape(3, 4), torch.tensor([-1]), torch.tensor([-5]),
                   torch.tensor([1]), torch.tensor([-2])], {}, [[3, 1], [7, 5], [11, 9]]),
        ("Gather", [torch.tensor([[1, 2], [3, 4]]), torch.tensor([-1])], {"axis": 1}, [[2], [4]]),
        ("Unsqueeze", [torch.tensor([1, 2]), torch.tensor([0, -1])], {}, [[[1], [2]]]),
        ("Squeeze", [torch.tensor([[[1]], [[2]]])], {"axes": [1, 2]}, [1, 2]),
        ("Div", [torch.tensor([-7, 7]), torch.tensor([2, 2])], {}, [-3, 3]),
        ("Flatten", [torch.ones(2, 1, 2)], {"axis": 2}, [[1.0, 1.0], [1.0, 1.0]]),
        ("Clip", [torch.tensor([-2.0, 9.0]), None, torch.tensor(6.0)], {}, [-2.0, 6.0]),
        ("ReduceMean", [torch.tensor([[1.0, 3.0]])], {"axes": [1], "keepdims": 0}, [2.0]),
        ("ReduceSum", [torch.ones(2, 2)], {"keepdims": 1}, [[4.0]]),
        ("Split", [torch.tensor([1, 2, 3]), torch.tensor([1, 2])], {}, [[1], [2, 3]]),
        ("Shape", [torch.ones(2, 5)], {"start": 1}, [5]),
        ("Expand", [torch.tensor([[1], [2]]), torch.tensor([1, 2])], {}, [[1, 1], [2, 2]]),
        ("Max", [torch.tensor([1, 5]), torch.tensor([3, 2]), torch.tensor([2, 2])], {}, [3, 5]),
        ("PRelu", [torch.tensor([-2.0, 2.0]), torch.tensor([0.5])], {}, [-1.0, 2.0]),
        ("Gemm", [torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0]]),
                  torch.tensor([1.0])], {"transA": 1, "alpha": 2.0, "beta": 3.0}, [[25.0]]),
    ],
)  # fmt: skip
def test_operators_follow_their_specification(name, inputs, attributes, expected) -> None:
    found = OPERATORS[name](Call(inputs, attributes, 17))
    parts = [part.tolist() for part in found] if isinstance(found, tuple) else found.tolist()
    assert parts == expected


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_automatic_padding_has_the_right_size(auto: str) -> None:
    call = Call(
        [torch.ones(1, 1, 5, 6), torch.ones(1, 1, 2, 2)], {"auto_pad": auto, "strides": [2, 2]}, 17
    )
    found = OPERATORS["Conv"](call)
    assert isinstance(found, Tensor)
    assert found.shape[2:] == ((2, 3) if auto == "VALID" else (3, 3))
    assert float(found[0, 0, -1, 0]) == (2.0 if auto == "SAME_UPPER" else 4.0)
