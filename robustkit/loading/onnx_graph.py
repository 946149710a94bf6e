"""ONNX files: a graph becomes a PyTorch module where its operators are known, else a black box.

Nothing in such a file is run but standard operators: files that need others, or that point to
data outside themselves, are refused. The graph is data, read by the `onnx` package's parser.
"""

import hashlib
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustkit.errors import RefusedError, ToolError
from robustkit.loading.checkpoint import digest
from robustkit.loading.endpoint import NOTE
from robustkit.loading.extras import need
from robustkit.loading.hubs import Found
from robustkit.loading.onnx_external import FLAG, take_in
from robustkit.loading.onnx_operators import OPERATORS, Call
from robustkit.loading.state_dict import check_values
from robustkit.loading.trust import NOTHING, Trust

MAX_BYTES = 2**31
"""The most that one protobuf message may hold."""
STANDARD = ("", "ai.onnx")


def from_onnx(path: Path, trust: Trust = NOTHING) -> Found:
    """The network in an ONNX file, converted; or asked through onnxruntime, without gradients.

    Raises RefusedError for what is damaged, not self-contained or not standard; ToolError where a
    package is missing.
    """
    model, files = read_onnx(path, trust)
    graph = model.graph
    unknown = sorted({node.op_type for node in graph.node} - OPERATORS.keys())
    notes = check_values(_checked_weights(graph, path), name=path.name)
    sha256 = digest(path)
    if files:
        notes.insert(0, f"UNSAFE: {FLAG}, weights from {', '.join(one.name for one in files)}")
        sha256 = hashlib.sha256("".join((sha256, *map(digest, files))).encode()).hexdigest()
    if len(graph.output) > 1:
        notes.append(f"{len(graph.output)} outputs; the first, {graph.output[0].name}, is used")
    if unknown:
        module: nn.Module = Asked(path, model, unknown)
        notes += [f"asked through onnxruntime, for {', '.join(unknown)}", NOTE]
        return Found(module, path.stem, str(path), notes=notes, sha256=sha256, access="scores")
    try:
        converted = Converted(model)
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from None
    notes.append(f"converted from ONNX: {len(graph.node)} operators, opset {converted.opset}")
    if converted.batch > 1:
        notes.append(f"exported for batches of {converted.batch}; taken to hold for any")
    return Found(converted, path.stem, str(path), notes=notes, sha256=sha256)


def read_onnx(path: Path, trust: Trust = NOTHING) -> tuple[Any, tuple[Path, ...]]:
    """The parsed and checked file, an `onnx.ModelProto` with functions inlined.

    And the files beside it that some of its weights came from, where `trust` lets them be read.
    """
    onnx = need("onnx", why=f"{path.name}, an ONNX file,")
    if path.stat().st_size > MAX_BYTES:
        raise RefusedError(
            f"an ONNX file of at most {MAX_BYTES:,} bytes", f"{path.stat().st_size:,}",
            "larger ones keep their weights outside: convert it to PyTorch",
        )  # fmt: skip
    try:
        model = onnx.load_model(path, load_external_data=False)
    except Exception as error:  # noqa: BLE001 - broken bytes make it raise nearly anything
        raise _damaged(path, error) from None
    files = take_in(model, path, allowed=trust.onnx_external, limit=MAX_BYTES)
    try:
        if model.functions:
            need("onnx.inliner", why="functions in the file")
            model = onnx.inliner.inline_local_functions(model)
        _refuse_custom(model, path)
        onnx.checker.check_model(model)
    except RefusedError:
        raise
    except Exception as error:  # noqa: BLE001 - the checker raises what it likes
        raise _damaged(path, error) from None
    return model, files


def _refuse_custom(model: Any, path: Path) -> None:
    custom = sorted(
        {f"{n.domain}.{n.op_type}" for n in model.graph.node if n.domain not in STANDARD}
    )
    if custom:
        raise RefusedError(
            "standard operators of ONNX",
            f"{', '.join(custom[:5])} in {path.name}, which need code of their own",
            "convert the model to PyTorch, and give it as py:pkg.mod:factory",
        )


def onnx_rows(path: Path) -> list[tuple[str, str, tuple[int, ...]]]:
    """Name, type and shape of every weight in the file."""
    weights = _checked_weights(read_onnx(path)[0].graph, path)
    return [(n, str(t.dtype).removeprefix("torch."), tuple(t.shape)) for n, t in weights.items()]


def _checked_weights(graph: Any, path: Path) -> dict[str, Tensor]:
    try:
        return _weights(graph)
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from None


def _weights(graph: Any) -> dict[str, Tensor]:
    return {one.name: _tensor(one) for one in graph.initializer}


def _tensor(value: Any) -> Tensor:
    helper = need("onnx.numpy_helper", why="an ONNX file")
    return torch.from_numpy(helper.to_array(value).copy())


class Converted(nn.Module):
    """A graph of known operators as a module: `[B,C,H,W]` -> its first output, differentiable."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        graph = model.graph
        self.opset = max(
            (one.version for one in model.opset_import if one.domain in STANDARD), default=1
        )
        self._names: dict[str, str] = {}
        for at, (name, value) in enumerate(_weights(graph).items()):
            self._names[name] = f"weight_{at}"
            if value.is_floating_point():
                self.register_parameter(f"weight_{at}", nn.Parameter(value))
            else:
                self.register_buffer(f"weight_{at}", value)
        inputs = [one for one in graph.input if one.name not in self._names]
        if len(inputs) != 1:
            raise RefusedError("an ONNX file with one input", f"{len(inputs)}", "export it anew")
        self._input, self._output = inputs[0].name, graph.output[0].name
        sizes = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim]
        self.batch = sizes[0] if sizes else 0
        self._last = len(sizes) == 4 and sizes[3] in (1, 3) and sizes[1] not in (0, 1, 3)
        self._steps = [
            (node.op_type, list(node.input), list(node.output), _attributes(node))
            for node in graph.node
        ]

    def forward(self, x: Tensor) -> Tensor:
        """The first output for pictures `x`; channels go last where the graph wants them there."""
        values: dict[str, Tensor | None] = {
            name: getattr(self, own) for name, own in self._names.items()
        }
        values[""] = None
        values[self._input] = x.permute(0, 2, 3, 1) if self._last else x
        for kind, inputs, outputs, attributes in self._steps:
            given = [values.get(name) for name in inputs]
            if kind in ("Reshape", "Expand") and self.batch not in (0, len(x)):
                given = self._free_batch(given, len(x))
            call = Call(given, {**attributes, "outputs": len(outputs)}, self.opset)
            try:
                found = OPERATORS[kind](call)
            except (LookupError, AttributeError, AssertionError, TypeError, ValueError) as error:
                raise RuntimeError(f"{kind} of the ONNX file: {error}") from error
            parts = (found,) if isinstance(found, Tensor) else found
            # What only training uses has a name and no value.
            values.update(zip(outputs, parts, strict=False))
        logits = values[self._output]
        assert logits is not None
        return logits

    def _free_batch(self, given: list[Tensor | None], count: int) -> list[Tensor | None]:
        """A shape that begins with the exported batch size begins with this one."""
        shape = given[1]
        if shape is None or not len(shape) or int(shape[0]) != self.batch:
            return given
        return [given[0], torch.cat((shape.new_tensor([count]), shape[1:]))]


def _attributes(node: Any) -> dict[str, Any]:
    helper = need("onnx", why="an ONNX file").helper
    found: dict[str, Any] = {}
    for one in node.attribute:
        value = helper.get_attribute_value(one)
        if isinstance(value, bytes):
            found[one.name] = value.decode()
            continue
        if hasattr(value, "raw_data"):
            value = _tensor(value)
        elif not isinstance(value, (int, float)):
            value = list(value)
        found[one.name] = value
    if node.op_type == "Constant" and "value" not in found:
        (value,) = found.values()
        found["value"] = torch.tensor(value)
    return found


class Asked(nn.Module):
    """An ONNX file that onnxruntime answers for: a black box without a gradient."""

    def __init__(self, path: Path, model: Any, unknown: list[str]) -> None:
        super().__init__()
        try:
            runtime = need("onnxruntime", why=f"{path.name} with {', '.join(unknown)}")
        except ToolError as error:
            raise ToolError(error.expected, error.got, "run: pip install onnxruntime") from None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._session = runtime.InferenceSession(
                    model.SerializeToString(), providers=["CPUExecutionProvider"]
                )
        except Exception as error:  # noqa: BLE001 - the runtime raises what it likes
            raise _damaged(path, error) from None
        self._input = self._session.get_inputs()[0]
        batch = self._input.shape[0]
        self._batch = batch if isinstance(batch, int) else 0

    def forward(self, x: Tensor) -> Tensor:
        """The first output for pictures `x`, in batches of the size that the file is made for."""
        size = self._batch or max(len(x), 1)
        parts = []
        for part in x.detach().cpu().split(size):
            filled = part if len(part) == size or not self._batch else _filled(part, size)
            found = self._session.run(None, {self._input.name: filled.numpy()})[0]
            parts.append(torch.from_numpy(found)[: len(part)])
        return torch.cat(parts).to(x.device)


def _filled(x: Tensor, size: int) -> Tensor:
    """Pictures repeated up to a batch of `size`."""
    return torch.cat((x, x[:1].expand(size - len(x), *x.shape[1:])))


def _damaged(path: Path, error: Exception) -> RefusedError:
    first = (str(error).strip().splitlines() or ["it ends early"])[0][:200]
    return RefusedError(
        "a complete ONNX file", f"{path.name} ({type(error).__name__}: {first})",
        "export it again, and compare its size",
    )  # fmt: skip
