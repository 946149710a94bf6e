"""The model under test: pixels in, logits out.

`Classifier` owns preprocessing, evaluation mode, frozen weights and the counters. Attacks see
nothing of the user's module but this, and the module is left as it was found.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Literal

import torch
from torch import Tensor, nn

from robustkit.errors import RefusedError, UserError
from robustkit.preprocess import Preprocess
from robustkit.records import ModelRecord

Access = Literal["white-box", "scores"]


class Classifier:
    """A user's module behind its preprocessing: `classifier(x)` is `[B, K]` float32 logits.

    `x` is `[B, C, H, W]` in `bounds`. `forwards` and `backwards` count samples.

    A defended model answers one column more where it may abstain: `abstain` is that column. Its
    `views` are what an attacker who knows the defense looks at instead: the same model without a
    part, or with another gradient. `random` says that it draws random numbers on purpose.

    >>> model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), name="tiny")
    >>> model(torch.zeros(2, 1, 2, 2)).shape, model.forwards
    (torch.Size([2, 3]), 2)
    """

    def __init__(  # noqa: PLR0913 - each is a fact of the model, named at the call
        self,
        module: nn.Module,
        *,
        preprocess: Preprocess | None = None,
        bounds: tuple[float, float] = (0.0, 1.0),
        name: str = "model",
        sha256: str = "",
        source: str = "",
        classes: Sequence[str] = (),
        notes: Sequence[str] = (),
        access: Access = "white-box",
        device: str | torch.device = "cpu",
        views: Mapping[str, "Classifier"] | None = None,
        abstain: int | None = None,
        random: bool = False,
    ) -> None:
        """Wrap `module`; it is moved to `device`, and otherwise not touched.

        `access` is what an attacker gets to see of it: its gradient, or only its scores.
        """
        if not callable(getattr(module, "parameters", None)):
            raise UserError(
                "a torch.nn.Module",
                type(module).__name__,
                "pass the network itself, not its weights",
            )
        self.module = module.to(device)
        self.preprocess = preprocess or Preprocess()
        self.bounds = bounds
        self.name, self.sha256, self.source = name, sha256, source
        self.access: Access = access
        self.classes, self.notes = tuple(classes), tuple(notes)
        self.views, self.abstain, self.random = dict(views or {}), abstain, random
        # Another model of the same data, where an audit was given one.
        self.surrogate: Classifier | None = None
        self.device = torch.device(device)
        weight = next((p for p in module.parameters() if p.is_floating_point()), None)
        self.dtype = torch.float32 if weight is None else weight.dtype
        self.forwards = 0
        self.backwards = 0

    def on(self, device: str | torch.device) -> "Classifier":
        """The same model and its views on another device, the counters at zero."""
        moved = copy(self)
        moved.module, moved.device = self.module.to(device), torch.device(device)
        moved.views = {name: view.on(device) for name, view in self.views.items()}
        moved.forwards = moved.backwards = 0
        return moved

    def __call__(self, x: Tensor) -> Tensor:
        """Logits `[B, K]` in float32 for pixels `x`.

        Raises RefusedError if the module's answer is no matrix of logits.
        """
        self.forwards += len(x)
        inputs = self.preprocess.apply(x.to(self.dtype))
        # A module that works in place must not work on the pictures themselves.
        logits = self.module(inputs.clone() if inputs is x else inputs)
        if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(x):
            shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise RefusedError(
                f"logits of shape ({len(x)}, classes)",
                f"{shape} from {self.name}",
                "wrap the module so that forward returns one row of logits a picture",
            )
        if logits.shape[1] < 2:
            raise RefusedError(
                "logits of two classes or more",
                f"a single score from {self.name}",
                "wrap the module so that a score z becomes torch.cat((-z, z), 1) / 2",
            )
        return logits.float()

    def gradient(self, outputs: Tensor, x: Tensor, *, again: bool = False) -> Tensor:
        """The gradient of `outputs.sum()` with respect to `x` alone; what is NaN becomes 0.

        A model without a path from pixels to logits gives zeros, which the audit reports. With
        `again` the graph is kept for another gradient.
        """
        self.backwards += len(x)
        if not outputs.requires_grad:
            return torch.zeros_like(x)
        (gradient,) = torch.autograd.grad(outputs.sum(), x, retain_graph=again, allow_unused=True)
        if gradient is None:
            return torch.zeros_like(x)
        # That of a sum is one number seen many times, which cannot be written to.
        return gradient.contiguous().nan_to_num_(0.0, 0.0, 0.0)

    @contextmanager
    def frozen(self, seed: int = 0) -> Iterator[None]:
        """Evaluation mode, frozen weights and a seeded global generator; all restored after."""
        modes = [(module, module.training) for module in self.module.modules()]
        grads = [(weight, weight.requires_grad) for weight in self.module.parameters()]
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            try:
                self.module.eval()
                for weight, _ in grads:
                    weight.requires_grad_(False)
                yield
            finally:
                for module, training in modes:
                    module.training = training
                for weight, wanted in grads:
                    weight.requires_grad_(wanted)

    def record(self) -> ModelRecord:
        """What a report says of the model."""
        return ModelRecord(
            name=self.name,
            sha256=self.sha256,
            source=self.source,
            preprocess=self.preprocess.describe(),
            classes=self.classes,
            notes=self.notes,
        )
