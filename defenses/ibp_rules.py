"""What each operation of a network does to an interval: one rule each, all of them sound.

With a `unit` above 0 every rule also adds what arithmetic of that rounding unit may be off by, in
whatever order it sums (Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 3.1):
gamma(n) = n unit / (1 - n unit) of the sum of magnitudes. The bounds then hold for what a machine
computes, not only for real numbers; the rules themselves are to be evaluated in higher precision.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustkit.errors import UserError


class Interval(NamedTuple):
    """Every number between `low` and `high`, element by element; both of the same shape."""

    low: Tensor
    high: Tensor

    @property
    def largest(self) -> Tensor:
        """The largest magnitude inside, element by element."""
        return torch.maximum(self.low.abs(), self.high.abs())

    def widened(self, by: Tensor) -> "Interval":
        """The same interval with both ends moved outwards."""
        return Interval(self.low - by, self.high + by)


Arguments = tuple[Any, ...]
Rule = Callable[[Any, Arguments, Mapping[str, Any], float], Interval]
"""`rule(call, args, kwargs, unit)`: `call` is the module or function that the network calls."""


def gamma(terms: int, unit: float) -> float:
    """The relative error that a sum of so many rounded products may have.

    Infinite where rounding may eat everything.

    >>> gamma(100, 0.0), gamma(1, 0.5)
    (0.0, 1.0)
    """
    return terms * unit / (1 - terms * unit) if terms * unit < 1 else float("inf")


def exact(call: Any, args: Arguments, kwargs: Mapping[str, Any], unit: float) -> Interval:
    """Operations that choose, move or clip numbers: they never fall where their input rises."""
    return _ends(call, args, kwargs)


def rising(call: Any, args: Arguments, kwargs: Mapping[str, Any], unit: float) -> Interval:
    """Activations that never fall, computed to within four units in the last place."""
    out = _ends(call, args, kwargs)
    return out.widened(gamma(8, unit) * out.largest) if unit else out


def averaging(call: Any, args: Arguments, kwargs: Mapping[str, Any], unit: float) -> Interval:
    """Sums and means of numbers of one sample."""
    out = _ends(call, args, kwargs)
    if not unit:
        return out
    terms = args[0].low[0].numel() + 1
    return out.widened(gamma(terms, unit) * call(args[0].largest, *args[1:], **kwargs))


def weighted(call: Any, args: Arguments, kwargs: Mapping[str, Any], unit: float) -> Interval:
    """A linear or convolutional layer, by centre and radius (Gowal et al. 2018, 1810.12715)."""
    x: Interval = args[0]
    weight = call.weight.to(x.low.dtype)
    bias = None if call.bias is None else call.bias.to(x.low.dtype)
    apply = functional.linear if isinstance(call, nn.Linear) else call._conv_forward
    centre = apply((x.low + x.high) / 2, weight, bias)
    radius = apply((x.high - x.low) / 2, weight.abs(), None)
    if unit:
        magnitude = apply(x.largest, weight.abs(), None if bias is None else bias.abs())
        radius = radius + gamma(weight[0].numel() + 2, unit) * magnitude
    return Interval(centre - radius, centre + radius)


def normalised(call: Any, args: Arguments, kwargs: Mapping[str, Any], unit: float) -> Interval:
    """Batch norm by its running statistics, whatever mode it is in."""
    x: Interval = args[0]
    if call.running_mean is None:
        raise _no_rule(call, "it has no running statistics")
    shape = [1, -1, *[1] * (x.low.dim() - 2)]
    mean, variance = (v.to(x.low.dtype) for v in (call.running_mean, call.running_var))
    scale = (variance + call.eps).rsqrt()
    bias = torch.zeros_like(scale)
    if call.weight is not None:
        scale, bias = scale * call.weight.to(scale), call.bias.to(scale)
    mean, scale, bias = (v.view(shape) for v in (mean, scale, bias))
    centre = ((x.low + x.high) / 2 - mean) * scale + bias
    radius = (x.high - x.low) / 2 * scale.abs()
    if unit:
        magnitude = (x.largest + mean.abs()) * scale.abs() + bias.abs()
        radius = radius + gamma(8, unit) * magnitude
    return Interval(centre - radius, centre + radius)


def added(call: Any, args: Arguments, kwargs: Mapping[str, Any], unit: float) -> Interval:
    """Sum or difference of two intervals, or of one and a constant."""
    if kwargs:
        raise _no_rule(call, f"it is called with {', '.join(kwargs)}")
    first, second = (_interval(one) for one in args[:2])
    if call.__name__ == "sub":
        second = Interval(-second.high, -second.low)
    return _rounded(Interval(first.low + second.low, first.high + second.high), unit)


def scaled(call: Any, args: Arguments, kwargs: Mapping[str, Any], unit: float) -> Interval:
    """Product with, or quotient by, a constant."""
    x, factor = args[0], args[1]
    if isinstance(factor, Interval) and call.__name__ == "mul":
        x, factor = factor, x
    if kwargs or isinstance(factor, Interval) or not isinstance(x, Interval):
        raise _no_rule(call, "only a product with a constant has one")
    ends = call(x.low, factor), call(x.high, factor)
    return _rounded(Interval(torch.minimum(*ends), torch.maximum(*ends)), unit)


def left(call: Any, args: Arguments, kwargs: Mapping[str, Any], unit: float) -> Interval:
    """Dropout, which does nothing once training is over."""
    return _interval(args[0])


def joined(call: Any, args: Arguments, kwargs: Mapping[str, Any], unit: float) -> Interval:
    """Several intervals one behind the other."""
    parts = [_interval(one) for one in args[0]]
    rest = args[1:]
    low, high = (
        call([getattr(p, end) for p in parts], *rest, **kwargs) for end in Interval._fields
    )
    return Interval(low, high)


def module_rule(module: nn.Module) -> Rule:
    """The rule of a module; raises UserError that names one for which there is none."""
    rule = next((rule for kinds, rule in _MODULES if isinstance(module, kinds)), None)
    if rule is None:
        raise _no_rule(module, "none is known")
    slope = getattr(module, "negative_slope", getattr(module, "alpha", 0.0))
    if isinstance(module, _RISING) and slope < 0:
        raise _no_rule(module, "it falls and rises")
    return rule


def function_rule(name: str) -> Rule:
    """The rule of a function or method of torch by its name; raises UserError like the above."""
    for names, rule in _FUNCTIONS:
        if name in names:
            return rule
    raise _no_rule(name, "none is known")


def _interval(value: Any) -> Interval:
    return value if isinstance(value, Interval) else Interval(value, value)


def _ends(call: Any, args: Arguments, kwargs: Mapping[str, Any]) -> Interval:
    x, *rest = args
    return Interval(call(x.low, *rest, **kwargs), call(x.high, *rest, **kwargs))


def _rounded(x: Interval, unit: float) -> Interval:
    return x.widened(gamma(2, unit) * x.largest) if unit else x


def _no_rule(call: Any, why: str) -> UserError:
    name = call if isinstance(call, str) else getattr(call, "__name__", None) or repr(call)
    return UserError(
        "a network of layers whose bounds are known: linear, convolution, batch norm, monotone "
        "activations, pooling, flatten, sums",
        f"{name}: {why}",
        "certify by --method smoothing, which asks nothing of the network",
    )


_RISING = (nn.Sigmoid, nn.Tanh, nn.Softplus, nn.ELU, nn.SELU, nn.CELU, nn.LeakyReLU)
_MODULES: tuple[tuple[tuple[type[nn.Module], ...], Rule], ...] = (
    ((nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d), weighted),
    ((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), normalised),
    (_RISING, rising),
    ((nn.Dropout, nn.Dropout1d, nn.Dropout2d), left),
    ((nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d), averaging),
    (
        (
            nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Identity, nn.Flatten, nn.Unflatten,
            nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveMaxPool2d, nn.ZeroPad2d,
        ),
        exact,
    ),
)  # fmt: skip
_FUNCTIONS: tuple[tuple[frozenset[str], Rule], ...] = (
    (
        frozenset((
            "relu", "relu_", "relu6", "hardtanh", "clamp", "flatten", "reshape", "view", "permute",
            "transpose", "contiguous", "squeeze", "unsqueeze", "pad", "_pad", "getitem", "amax",
            "max_pool2d", "adaptive_max_pool2d",
        )),
        exact,
    ),
    (frozenset(("sigmoid", "tanh", "softplus", "selu")), rising),
    (frozenset(("avg_pool2d", "adaptive_avg_pool2d", "mean", "sum")), averaging),
    (frozenset(("add", "iadd", "sub")), added),
    (frozenset(("mul", "truediv", "div")), scaled),
    (frozenset(("cat", "concat")), joined),
)  # fmt: skip
