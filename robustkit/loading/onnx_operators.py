"""The operators of ONNX in terms of PyTorch: a table, name -> function of inputs and attributes.

Each follows the operator's specification in evaluation mode, and gradients pass through all of
them. What moved from an attribute to an input between versions is taken from wherever it is.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

Given = Sequence[Tensor | None]
KINDS = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32, 7: torch.int64,
    9: torch.bool, 10: torch.float16, 11: torch.float64, 16: torch.bfloat16,
}  # fmt: skip
"""ONNX's numbers for types."""


class Call(NamedTuple):
    """One use of an operator: its inputs (None where left out), attributes and opset version."""

    inputs: Given
    attributes: Mapping[str, Any]
    opset: int

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        return self.attributes.get(name, default)

    def at(self, index: int) -> Tensor:
        """An input that must be there."""
        value = self.inputs[index]
        assert value is not None
        return value

    def option(self, name: str, index: int) -> list[Any] | None:
        """Numbers that are an attribute in some versions and an input in others."""
        if len(self.inputs) > index and self.inputs[index] is not None:
            given: list[Any] = self.at(index).reshape(-1).tolist()
            return given
        value = self.attributes.get(name)
        return None if value is None else list(value) if isinstance(value, list) else [value]


Operator = Callable[[Call], Tensor | tuple[Tensor, ...]]


def _pads(call: Call, x: Tensor, kernel: Sequence[int]) -> list[int]:
    """Padding in torch's order, last axis first."""
    axes = len(kernel)
    auto = call.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        strides, spread = call.get("strides", [1] * axes), call.get("dilations", [1] * axes)
        pads = []
        for axis in reversed(range(axes)):
            size, stride = x.shape[2 + axis], strides[axis]
            reach = (kernel[axis] - 1) * spread[axis] + 1
            total = max((-(-size // stride) - 1) * stride + reach - size, 0)
            small, large = total // 2, total - total // 2
            pads += [small, large] if auto == "SAME_UPPER" else [large, small]
        return pads
    given = call.get("pads", [0] * 2 * axes)
    return [side for axis in reversed(range(axes)) for side in (given[axis], given[axis + axes])]


def _conv(call: Call) -> Tensor:
    x, weight = call.at(0), call.at(1)
    bias = call.inputs[2] if len(call.inputs) > 2 else None
    axes = weight.dim() - 2
    run = (functional.conv1d, functional.conv2d, functional.conv3d)[axes - 1]
    padded = functional.pad(x, _pads(call, x, list(weight.shape[2:])))
    found: Tensor = run(
        padded, weight, bias, stride=call.get("strides", [1] * axes),
        dilation=call.get("dilations", [1] * axes), groups=call.get("group", 1),
    )  # fmt: skip
    return found


def _pool(call: Call, *, largest: bool) -> Tensor:
    x, kernel = call.at(0), call.get("kernel_shape")
    if len(kernel) != 2:
        raise NotImplementedError("pooling in other than two dimensions")
    pads, strides = _pads(call, x, kernel), call.get("strides", [1, 1])
    spread, up = call.get("dilations", [1, 1]), bool(call.get("ceil_mode", 0))
    outside = bool(call.get("count_include_pad", 0))
    left, right, top, bottom = pads
    if (left, top) == (right, bottom) and 2 * top <= kernel[0] and 2 * left <= kernel[1]:
        sides = (top, left)
    elif up or not (largest or outside):
        raise NotImplementedError("pooling with uneven padding that is not plain")
    else:
        x, sides = functional.pad(x, pads, value=-torch.inf if largest else 0.0), (0, 0)
    if largest:
        return functional.max_pool2d(x, kernel, strides, sides, spread, up)
    if max(spread) > 1:
        raise NotImplementedError("averages over a dilated window")
    return functional.avg_pool2d(x, kernel, strides, sides, up, outside)


def _gemm(call: Call) -> Tensor:
    left, right = call.at(0), call.at(1)
    left = left.mT if call.get("transA", 0) else left
    right = right.mT if call.get("transB", 0) else right
    product: Tensor = call.get("alpha", 1.0) * (left @ right)
    more = call.inputs[2] if len(call.inputs) > 2 else None
    return product if more is None else product.add(more, alpha=call.get("beta", 1.0))


def _batch_norm(call: Call) -> Tensor:
    if call.get("training_mode", 0):
        raise NotImplementedError("batch normalisation in training mode")
    return functional.batch_norm(
        call.at(0), call.at(3), call.at(4), call.at(1), call.at(2), False, 0.0,
        call.get("epsilon", 1e-5),
    )  # fmt: skip


def _layer_norm(call: Call) -> Tensor:
    x, axis = call.at(0), call.get("axis", -1)
    bias = call.inputs[2] if len(call.inputs) > 2 else None
    return functional.layer_norm(x, x.shape[axis:], call.at(1), bias, call.get("epsilon", 1e-5))


def _softmax(call: Call) -> Tensor:
    x = call.at(0)
    if call.opset >= 13:
        return x.softmax(call.get("axis", -1))
    return x.flatten(call.get("axis", 1)).softmax(-1).reshape(x.shape)


def _reduce(run: Callable[..., Tensor]) -> Operator:
    def reduce(call: Call) -> Tensor:
        """The operator over its axes."""
        axes = call.option("axes", 1)
        if not axes and call.get("noop_with_empty_axes", 0):
            return call.at(0)
        wanted = axes or list(range(call.at(0).dim()))
        return run(call.at(0), dim=wanted, keepdim=bool(call.get("keepdims", 1)))

    return reduce


def _clip(call: Call) -> Tensor:
    low, high = call.option("min", 1), call.option("max", 2)
    if low is None and high is None:
        return call.at(0)
    return call.at(0).clamp(low[0] if low else None, high[0] if high else None)


def _reshape(call: Call) -> Tensor:
    shape = call.option("shape", 1) or []
    if not call.get("allowzero", 0):
        shape = [call.at(0).shape[at] if size == 0 else size for at, size in enumerate(shape)]
    return call.at(0).reshape(shape)


def _flatten(call: Call) -> Tensor:
    axis = call.get("axis", 1)
    return call.at(0).flatten(axis) if axis == 1 else call.at(0).flatten(0, axis - 1).flatten(1)


def _squeeze(call: Call) -> Tensor:
    axes = call.option("axes", 1)
    return call.at(0).squeeze(tuple(axes)) if axes else call.at(0).squeeze()


def _unsqueeze(call: Call) -> Tensor:
    x, axes = call.at(0), call.option("axes", 1) or []
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _slice(call: Call) -> Tensor:
    x = call.at(0)
    starts, ends = call.option("starts", 1) or [], call.option("ends", 2) or []
    axes = call.option("axes", 3) or list(range(len(starts)))
    steps = call.option("steps", 4) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        rows = range(x.shape[axis])[start:end:step]
        x = x.index_select(axis, torch.tensor(list(rows), dtype=torch.int64, device=x.device))
    return x


def _split(call: Call) -> tuple[Tensor, ...]:
    sizes, axis = call.option("split", 1), call.get("axis", 0)
    whole = call.at(0)
    parts: tuple[Tensor, ...] = (
        whole.split(sizes, axis) if sizes else whole.tensor_split(call.get("outputs"), axis)
    )
    return parts


def _gather(call: Call) -> Tensor:
    x, index, axis = call.at(0), call.at(1).long(), call.get("axis", 0)
    index = torch.where(index < 0, index + x.shape[axis], index)
    found = x.index_select(axis, index.reshape(-1))
    return found.reshape(*x.shape[:axis], *index.shape, *x.shape[axis % x.dim() + 1 :])


def _shape(call: Call) -> Tensor:
    shape = list(call.at(0).shape)[call.get("start", 0) : call.get("end")]
    return torch.tensor(shape, dtype=torch.int64, device=call.at(0).device)


def _expand(call: Call) -> Tensor:
    shape = call.at(1).tolist()
    return call.at(0).expand(torch.broadcast_shapes(call.at(0).shape, shape))


def _constant_of_shape(call: Call) -> Tensor:
    value: Tensor = call.get("value", torch.zeros(1))
    return value.reshape(()).expand(call.at(0).tolist()).clone()


def _pad(call: Call) -> Tensor:
    x, given = call.at(0), call.option("pads", 1) or []
    mode = call.get("mode", "constant")
    fill = (call.option("value", 2) or [0.0])[0]
    order = [
        side for axis in reversed(range(x.dim())) for side in (given[axis], given[axis + x.dim()])
    ]
    if mode == "constant":
        return functional.pad(x, order, value=fill)
    return functional.pad(x, order[:4], {"edge": "replicate"}.get(mode, mode))


def _gelu(call: Call) -> Tensor:
    return functional.gelu(call.at(0), approximate=call.get("approximate", "none"))


def _plain(run: Callable[..., Tensor]) -> Operator:
    """An operator that takes tensors and nothing else."""
    return lambda call: run(*(value for value in call.inputs if value is not None))


def _many(run: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    def fold(call: Call) -> Tensor:
        """The operator over all inputs."""
        found = call.at(0)
        for index in range(1, len(call.inputs)):
            found = run(found, call.at(index))
        return found

    return fold


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


OPERATORS: dict[str, Operator] = {
    **{
        name: _plain(run)
        for name, run in (
            ("Abs", torch.abs), ("Add", torch.add), ("Div", _divide), ("Equal", torch.eq),
            ("Erf", torch.erf), ("Exp", torch.exp), ("Floor", torch.floor), ("Greater", torch.gt),
            ("HardSwish", functional.hardswish), ("Less", torch.lt), ("Log", torch.log),
            ("MatMul", torch.matmul), ("Mish", functional.mish), ("Mul", torch.mul),
            ("Neg", torch.neg), ("PRelu", lambda x, slope: torch.where(x < 0, x * slope, x)),
            ("Pow", torch.pow), ("Reciprocal", torch.reciprocal), ("Relu", torch.relu),
            ("Sigmoid", torch.sigmoid), ("Softplus", functional.softplus), ("Sqrt", torch.sqrt),
            ("Sub", torch.sub), ("Tanh", torch.tanh), ("Where", torch.where),
        )
    },
    "AveragePool": lambda call: _pool(call, largest=False),
    "BatchNormalization": _batch_norm,
    "Cast": lambda call: call.at(0).to(KINDS[call.get("to")]),
    "Clip": _clip,
    "Concat": lambda call: torch.cat([x for x in call.inputs if x is not None], call.get("axis")),
    "Constant": lambda call: call.get("value"),
    "ConstantOfShape": _constant_of_shape,
    "Conv": _conv,
    "Dropout": lambda call: call.at(0),
    "Elu": lambda call: functional.elu(call.at(0), call.get("alpha", 1.0)),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda call: call.at(0).mean((2, 3), keepdim=True),
    "GlobalMaxPool": lambda call: call.at(0).amax((2, 3), keepdim=True),
    "HardSigmoid": lambda call: (
        call.get("alpha", 0.2) * call.at(0) + call.get("beta", 0.5)
    ).clamp(0, 1),
    "Identity": lambda call: call.at(0),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda call: functional.leaky_relu(call.at(0), call.get("alpha", 0.01)),
    "LogSoftmax": lambda call: call.at(0).log_softmax(call.get("axis", -1)),
    "Max": _many(torch.maximum),
    "MaxPool": lambda call: _pool(call, largest=True),
    "Min": _many(torch.minimum),
    "Pad": _pad,
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceMin": _reduce(torch.amin),
    "ReduceSum": _reduce(torch.sum),
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": lambda call: call.at(0).permute(
        call.get("perm", list(reversed(range(call.at(0).dim()))))
    ),
    "Unsqueeze": _unsqueeze,
}  # fmt: skip
"""Every operator that can be converted."""
