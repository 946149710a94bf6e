"""What a detector is: a score of suspicion, and a threshold beyond which the model abstains.

A detector is made by `fit` from clean pictures, and its threshold is set by `calibrate` on other
clean pictures. Attacked pictures never set a threshold: they would be those of one attack only.
Scores are differentiable in the picture, so that an adaptive attack can follow them.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import deepcopy
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from robustkit.defenses.detectors.features import Seen, see
from robustkit.errors import UserError
from robustkit.model import Classifier

FALSE_ALARMS = 0.05
BATCH = 128


class Fitting(NamedTuple):
    """What a detector is made from: a frozen model, clean pictures `[N,C,H,W]`, labels `[N]`."""

    model: Classifier
    x: Tensor
    y: Tensor

    def seen(self, layers: tuple[str, ...] = ()) -> Seen:
        """Every picture looked at, without a graph."""
        with torch.no_grad():
            looks = [
                see(self.model, part.to(self.model.device), layers) for part in self.x.split(BATCH)
            ]
        columns = zip(*(look.layers for look in looks), strict=True)
        return Seen(
            self.x,
            torch.cat([look.logits for look in looks]),
            tuple(torch.cat(column) for column in columns),
        )


class Detector(nn.Module, ABC):
    """The interface of all detectors: tensors, plain settings, and the layers it looks into.

    `score` is larger for what is more suspicious; beyond `threshold` the model abstains. `spread`
    is the deviation of clean scores, the unit that the excess over the threshold is measured in;
    `known` how many classes the model had when the threshold was set, 0 before.
    """

    name: ClassVar[str]
    threshold: Tensor
    spread: Tensor
    known: Tensor

    def __init__(
        self,
        tensors: Mapping[str, Tensor] | None = None,
        *,
        layers: tuple[str, ...] = (),
        settings: Mapping[str, float] | None = None,
    ) -> None:
        """A detector of these parts, without a threshold: nothing is turned away."""
        super().__init__()
        self.layers, self.settings = layers, dict(settings or {})
        start = {
            "threshold": torch.tensor(torch.inf),
            "spread": torch.tensor(1.0),
            "known": torch.tensor(0),
        }
        for name, value in (start | dict(tensors or {})).items():
            self.register_buffer(name, value)

    @classmethod
    @abstractmethod
    def fit(cls, data: Fitting) -> Self:
        """A detector made for a model from clean pictures."""

    @abstractmethod
    def judge(self, model: Classifier, seen: Seen) -> Tensor:
        """The scores `[B]` of pictures that the model has looked at."""

    @property
    def classes(self) -> int:
        """How many classes the model has; raises UserError if there is no threshold yet."""
        if not int(self.known):
            raise UserError(
                "a detector with a threshold",
                f"{self.name} without one",
                "call detector.calibrate(model, x) with clean pictures",
            )
        return int(self.known)

    def see(self, model: Classifier, x: Tensor) -> Seen:
        """One forward of the model, and what goes on in the layers that this detector needs."""
        return see(model, x, self.layers)

    def score(self, model: Classifier, x: Tensor) -> Tensor:
        """How suspicious each picture is, `[B]`; larger is worse."""
        return self.judge(model, self.see(model, x))

    def calibrate(
        self, model: Classifier, x: Tensor, *, false_alarms: float = FALSE_ALARMS
    ) -> Self:
        """The same detector with the threshold that turns away that share of clean pictures.

        `x` `[N,C,H,W]` are clean pictures that were not fitted on; the model must be frozen.
        Raises UserError for a share outside (0, 1), and for too few pictures to find it with.
        """
        if not 0 < false_alarms < 1 or len(x) * false_alarms < 1:
            raise UserError(
                "false alarms in (0, 1), and at least 1 / false_alarms clean pictures",
                f"{false_alarms:g} of {len(x)} pictures",
                "give more pictures, or allow more false alarms",
            )
        with torch.no_grad():
            looks = [self.see(model, part.to(model.device)) for part in x.split(BATCH)]
            scores = torch.cat([self.judge(model, seen) for seen in looks]).sort().values
        found = deepcopy(self)
        found.known = torch.tensor(looks[0].logits.shape[1])
        # At most that share lies beyond the order statistic.
        allowed = int(len(scores) * false_alarms)
        found.threshold = scores[len(scores) - 1 - allowed].clone()
        found.spread = scores.std().clamp_min(1e-12)
        return found

    def excess(self, model: Classifier, seen: Seen) -> Tensor:
        """How far each score is beyond the threshold, in deviations of clean scores, `[B]`."""
        return (self.judge(model, seen) - self.threshold) / self.spread

    def abstain(self, model: Classifier, x: Tensor) -> Tensor:
        """Whether each picture is turned away, `[B]` bool."""
        return self.score(model, x) > self.threshold
