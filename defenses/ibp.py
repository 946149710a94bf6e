"""Interval bound propagation: what a network can say of every picture in a box, at once.

Gowal et al. 2018 (1810.12715): the box of all pictures within eps goes through the network layer by
layer, and where the label's logit stays above all others no attack within eps can succeed. Sound
for every network that has rules (`ibp_rules`), and tight only for those trained for it. The bounds
are evaluated in float64 and made wider by what float32 may round: a certificate holds for the model
as it is run, not only on paper. Arithmetic that rounds more, such as TF32, is not covered.
"""

from dataclasses import dataclass
from operator import attrgetter
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from robustkit import precision
from robustkit.defenses.ibp_rules import Interval, function_rule, gamma, module_rule
from robustkit.errors import UserError
from robustkit.model import Classifier
from robustkit.threat import ROUNDING, ThreatModel

_FACTS = ("size", "dim", "numel", "getattr")
"""What a network may ask of a tensor beside its numbers: the same for both ends."""


@dataclass(frozen=True)
class Certificate:
    """What is proven of each picture, `[B]` on the CPU.

    `prediction` is the class of the untouched picture; `margin` bounds from below by how much its
    logit stays above every other within the threat. Positive is a proof.
    """

    prediction: Tensor
    margin: Tensor

    @property
    def proven(self) -> Tensor:
        """Whether no picture within the threat is told apart from this one, `[B]`."""
        return self.margin > 0


def certify(
    model: Classifier, x: Tensor, threat: ThreatModel, *, batch_size: int = 64
) -> Certificate:
    """Certify pictures `x` `[B,C,H,W]` under a linf threat.

    Raises UserError for another norm, a network with a layer that has no rule, or weights that are
    neither float32 nor float64.
    """
    check(model, threat)
    bounds = Bounds(model)
    predictions, margins = [], []
    with model.frozen(), torch.no_grad():
        for rows in torch.arange(len(x)).split(batch_size):
            part = x[rows]
            prediction = model(part).argmax(1)
            box = reachable(part, threat.take(rows))
            lowest = bounds.margins(box, prediction, unit=torch.finfo(model.dtype).eps / 2)
            predictions.append(prediction.cpu())
            margins.append(lowest.amin(1).cpu())
    return Certificate(torch.cat(predictions), torch.cat(margins))


def reachable(x: Tensor, threat: ThreatModel) -> Interval:
    """The smallest box in float64 around all pictures that `threat` lets pass, rounding included.

    >>> reachable(torch.full((1, 1, 1, 1), 0.9), ThreatModel("linf", 0.2)).high.item()
    1.0000002
    """
    x = x.double()
    eps = threat.budget(x).view(-1, 1, 1, 1) * (1 + 1e-6) + ROUNDING
    low, high = threat.bounds
    return Interval((x - eps).clamp_min(low - ROUNDING), (x + eps).clamp_max(high + ROUNDING))


class Bounds:
    """The bounds of one classifier, whose module is traced once and not changed.

    Weights are read anew at every call, so the same object serves a model in training.
    """

    def __init__(self, model: Classifier) -> None:
        """Trace the module, in evaluation mode; raises UserError for one with hooks or branches.

        What the rules do not see, they cannot bound: a hook may answer anything in a layer's place.
        """
        self.model = model
        for name, module in model.module.named_modules():
            if module._forward_hooks or module._forward_pre_hooks:
                raise UserError(
                    "a network whose layers have no hooks",
                    f"one on {name or 'the network'} ({type(module).__name__})",
                    "remove it (weight norm: torch.nn.utils.parametrizations has none)",
                )
        try:
            with model.frozen():
                self.graph = fx.Tracer().trace(model.module)
        except Exception as error:
            raise UserError(
                "a network whose layers are the same for every picture",
                f"{type(error).__name__}: {error}",
                "certify by --method smoothing, which asks nothing of the network",
            ) from error

    def logits(self, box: Interval, *, unit: float = 0.0) -> Interval:
        """Bounds of the logits, `[B,K]` each, over the pictures in `box`."""
        return self._run(self._prepared(box, unit), unit, last=None)

    def margins(self, box: Interval, y: Tensor, *, unit: float = 0.0) -> Tensor:
        """Lower bounds `[B,K]` of the logit of `y` `[B]` less each other; infinity at `y` itself.

        Where the network ends in a linear layer the difference is bounded as one function, which is
        tighter than the difference of two bounds (elision).
        """
        node = self._last_linear()
        x = self._run(self._prepared(box, unit), unit, last=node)
        if node is None:
            lowest = x.low.gather(1, y[:, None]) - x.high
        else:
            lowest = _differences(self._module(node), x, y, unit)
        return lowest.scatter(1, y[:, None], torch.inf)

    def _prepared(self, box: Interval, unit: float) -> Interval:
        """The box after the classifier's own preprocessing, which rises in every pixel."""
        before = self.model.preprocess
        ends = Interval(before.apply(box.low), before.apply(box.high))
        if not unit or not (before.mean or before.size):
            return ends
        shifts = (abs(m) / s for m, s in zip(before.mean, before.std, strict=True))
        magnitude = ends.largest + 2 * max(shifts, default=0.0)
        terms = box.low[0].numel() if before.size else 4
        return ends.widened(gamma(terms, unit) * magnitude)

    def _last_linear(self) -> fx.Node | None:
        """The linear layer whose output is the network's, if there is one."""
        output = next(node for node in self.graph.nodes if node.op == "output")
        node = output.args[0]
        if not isinstance(node, fx.Node) or node.op != "call_module":
            return None
        return node if isinstance(self._module(node), nn.Linear) else None

    def _module(self, node: fx.Node) -> nn.Module:
        return self.model.module.get_submodule(str(node.target))

    def _run(self, x: Interval, unit: float, *, last: fx.Node | None) -> Interval:
        """The interval that the network returns, or that goes into the node `last`."""
        known: dict[fx.Node, Any] = {}
        for node in self.graph.nodes:
            args, kwargs = fx.map_arg((node.args, node.kwargs), known.__getitem__)
            if node is last or node.op == "output":
                return cast(Interval, args[0])
            known[node] = x if node.op == "placeholder" else self._called(node, args, kwargs, unit)
        raise AssertionError("a graph without an output")

    def _called(self, node: fx.Node, args: Any, kwargs: Any, unit: float) -> Any:
        """What one node of the graph makes of its arguments."""
        name = str(node.target)
        if node.op == "get_attr":
            return attrgetter(name)(self.model.module)
        if node.op == "call_module":
            module = self._module(node)
            return module_rule(module)(module, args, kwargs, unit)
        call: Any = getattr(torch.Tensor, name) if node.op == "call_method" else node.target
        if call.__name__ in _FACTS:
            return call(args[0].low, *args[1:], **kwargs)
        return function_rule(call.__name__)(call, args, kwargs, unit)


def _differences(layer: nn.Module, x: Interval, y: Tensor, unit: float) -> Tensor:
    """Lower bounds of row `y` less each row of a linear layer, `[B,K]`."""
    assert isinstance(layer, nn.Linear)
    weight = layer.weight.to(x.low.dtype)
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.to(weight)
    rows = weight[y][:, None] - weight
    centre, radius = (x.low + x.high) / 2, (x.high - x.low) / 2
    lowest = torch.einsum("bkf,bf->bk", rows, centre) + bias[y][:, None] - bias
    lowest = lowest - torch.einsum("bkf,bf->bk", rows.abs(), radius)
    if not unit:
        return lowest
    error = gamma(weight.shape[1] + 2, unit) * (x.largest @ weight.abs().T + bias.abs())
    return lowest - error - error.gather(1, y[:, None])


def need_linf(threat: ThreatModel, *, masked: bool = True) -> None:
    """Raise UserError for a threat of another norm, and unless `masked` for one with a mask."""
    if threat.norm_name != "linf" or (threat.mask is not None and not masked):
        raise UserError("a linf threat for interval bounds", threat.text, "write --threat linf:0.1")


def check(model: Classifier, threat: ThreatModel) -> None:
    """Raise UserError unless there are bounds for such a model and threat."""
    need_linf(threat, masked=False)
    if model.device.type in precision.SINGLE:
        raise UserError("a device with float64", model.device.type, "write --device cpu")
    if model.dtype not in (torch.float32, torch.float64):
        raise UserError(
            "weights in float32 or float64", str(model.dtype), "convert the model with .float()"
        )
