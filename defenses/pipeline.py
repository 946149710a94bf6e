"""A defended model: transforms, the model, a detector, a step behind it, and its attackers' views.

What an attacker looks at follows from what the stages declare of themselves, and is never chosen
by whoever is audited (Athalye et al. 2018, arXiv 1802.00420; Tramer et al. 2020, arXiv 2002.08347).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from robustkit.attacks.viewed import EXPECTED, UNDEFENDED, Expected
from robustkit.defenses.bpda import followable, straightened
from robustkit.defenses.detectors.detector import Detector
from robustkit.defenses.postprocess import Postprocess
from robustkit.defenses.stage import Stage, Transform
from robustkit.errors import RefusedError, UserError
from robustkit.model import Classifier


@dataclass(frozen=True)
class Pipeline:
    """`stages`, in order, before `model`; a `detector` beside and a `postprocess` behind it.

    The detector sees what the model sees. Where it turns a picture away, the answer is one class
    more than the model has.

    >>> from robustkit.zoo import load_model
    >>> blind = Stage("blind", lambda x: x.round(), surrogate=lambda x: x)
    >>> sorted(Pipeline(load_model("digits-standard"), (blind,)).classifier().views)
    ['bpda-identity', 'bpda-surrogate', 'undefended']
    """

    model: Classifier
    stages: tuple[Stage, ...] = ()
    detector: Detector | None = None
    postprocess: Postprocess | None = None

    @property
    def name(self) -> str:
        """The parts in the order in which a picture passes them."""
        behind = [part.name for part in (self.detector, self.postprocess) if part]
        return " > ".join([*(stage.name for stage in self.stages), self.model.name, *behind])

    def classifier(self) -> Classifier:
        """The pipeline as a model that every part of robustkit takes, with its views.

        Raises UserError if the model is a defended one already.
        """
        if self.model.views:
            raise UserError(
                "an undefended model inside a pipeline", self.model.name,
                "put all stages into one Pipeline",
            )  # fmt: skip
        chain = self._chain([stage.run for stage in self.stages], self.postprocess)
        whole = self._around(chain, self.name, views=self._views())
        if whole.random:
            whole.views[EXPECTED] = Expected(self._around(chain, f"{self.name} @ {EXPECTED}"))
        return whole

    def _views(self) -> dict[str, Classifier]:
        """What somebody who knows the defense looks at instead."""
        if not (self.stages or self.detector or self.postprocess):
            return {}
        followed = [followable(stage) for stage in self.stages]
        views = {UNDEFENDED: self.model}
        if self.stages:
            views["bpda-identity"] = self._view("bpda-identity", straightened(self.stages))
        if any(stage.surrogate for stage in self.stages):
            views["bpda-surrogate"] = self._view("bpda-surrogate", followed)
        if self.postprocess:
            views["no-post"] = self._view("no-post", followed)
        if self.detector:
            views["detector-aware"] = self._view("detector-aware", followed)
        return views

    def _view(self, name: str, transforms: Sequence[Transform]) -> Classifier:
        return self._around(self._chain(transforms, None), f"{self.name} @ {name}")

    def _around(
        self, chain: "_Chain", name: str, *, views: dict[str, Classifier] | None = None
    ) -> Classifier:
        """A classifier around a chain of parts."""
        inner = self.model
        return Classifier(
            chain,
            bounds=inner.bounds,
            name=name,
            source=self._description(),
            classes=inner.classes,
            notes=(*inner.notes, *self._notes()),
            access=inner.access,
            device=inner.device,
            views=views,
            abstain=chain.abstain,
            random=any(stage.random for stage in self.stages),
        )

    def _chain(self, transforms: Sequence[Transform], postprocess: Postprocess | None) -> "_Chain":
        chain = _Chain(self.model, transforms, self.detector, postprocess)
        for stage in self.stages:
            chain.keep(stage.run, stage.surrogate)
        return chain

    def _notes(self) -> list[str]:
        """A line a part, for reports."""
        lines = []
        for stage in self.stages:
            kinds = [*(["random"] if stage.random else []), *(["BPDA"] if stage.surrogate else [])]
            lines.append(_line(f"stage {stage.name}", stage.settings, kinds))
        lines.append(_line("model", self.model.preprocess.describe(), []))
        if self.detector:
            settings = {"threshold": round(float(self.detector.threshold), 6)}
            lines.append(_line(f"detector {self.detector.name}", settings, []))
        if self.postprocess:
            lines.append(_line(f"then {self.postprocess.name}", self.postprocess.settings, []))
        return lines

    def _description(self) -> str:
        """What decides the answers beside the weights."""
        return "; ".join([self.model.source, *self._notes()])


def _line(name: str, settings: Mapping[str, object], kinds: Sequence[str]) -> str:
    shown = ", ".join(f"{key}={value}" for key, value in settings.items())
    return " ".join(part for part in (name, f"({shown})" if shown else "", *kinds) if part)


class _Chain(nn.Module):
    """The parts of a pipeline in a row; what one of them has in weights belongs to it."""

    def __init__(
        self,
        model: Classifier,
        transforms: Sequence[Transform],
        detector: Detector | None,
        postprocess: Postprocess | None,
    ) -> None:
        super().__init__()
        self.model, self.transforms = model, tuple(transforms)
        self.detector, self.postprocess = detector, postprocess
        self.abstain = detector.classes if detector else None
        self.parts = nn.ModuleList([model.module])
        self.keep(*transforms, detector, postprocess.run if postprocess else None)

    def keep(self, *parts: object) -> None:
        """Move, freeze and save these parts with the chain, as far as they are modules."""
        self.parts.extend(part for part in parts if isinstance(part, nn.Module))

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Let the model learn, or stop it; what stands around it never does."""
        super().requires_grad_(False)
        self.model.module.requires_grad_(requires_grad)
        return self

    def train(self, mode: bool = True) -> Self:
        """Training mode for the model, evaluation mode for what stands around it."""
        super().train(False)
        self.model.module.train(mode)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Pixels to logits, with a column more where there is a detector."""
        x = x.float()
        for transform in self.transforms:
            x = transform(x)
        if self.detector is None:
            return self._behind(self.model(x))
        seen = self.detector.see(self.model, x)
        if seen.logits.shape[1] != self.abstain:
            raise RefusedError(
                f"a detector for the {seen.logits.shape[1]} classes of {self.model.name}",
                f"{self.detector.name} for {self.abstain}",
                "fit it on this very model",
            )
        answer = self._behind(seen.logits)
        turned = answer.amax(1) + self.detector.excess(self.model, seen)
        return torch.cat((answer, turned[:, None]), 1)

    def _behind(self, logits: Tensor) -> Tensor:
        return self.postprocess.run(logits) if self.postprocess else logits
