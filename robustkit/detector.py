"""The second kind of model: pixels in, boxes out.

`Detector` owns what attacks may know of a torchvision detector: what it sees, and how sure it is
of every class at every candidate for a box, before any of them is thrown away. torchvision
normalises and resizes inside the model, so that pixels in [0, 1] go in. The losses of its training
mode are not used: they change batch statistics, draw random boxes and mix the pictures of a batch.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection import FCOS, RetinaNet  # type: ignore[import-untyped]
from torchvision.models.detection.generalized_rcnn import (  # type: ignore[import-untyped]
    GeneralizedRCNN,
)
from torchvision.models.detection.ssd import SSD  # type: ignore[import-untyped]

from robustkit.errors import RefusedError
from robustkit.model import Classifier

KINDS = "Faster R-CNN, RetinaNet, FCOS, SSD or SSDLite"


class Boxes(NamedTuple):
    """What is seen on one picture: `boxes` `[N,4]` as left, top, right, bottom in pixels.

    `labels` `[N]` int64; `scores` `[N]` in [0, 1], 1 for what is known to be there.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor

    @classmethod
    def of(cls, boxes: Sequence[Sequence[float]], labels: Sequence[int]) -> "Boxes":
        """What is known to be there.

        >>> Boxes.of([[0, 0, 2, 3]], [1]).scores
        tensor([1.])
        """
        corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        return cls(corners, torch.tensor(labels, dtype=torch.int64), torch.ones(len(labels)))

    def take(self, index: Tensor) -> "Boxes":
        """Some of the boxes."""
        return Boxes(*(part[index] for part in self))


class Detector:
    """A torchvision detector: `detect(x)` says what it sees, `odds(x)` how sure it is, and where.

    Labels are the numbers that the module itself gives; 0 is the background where it has one.
    Raises RefusedError for a module that is no such detector.

    >>> from torchvision.models.detection import fcos_resnet50_fpn
    >>> net = fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=3, min_size=64)
    >>> detector = Detector(net)
    >>> x = torch.zeros(2, 3, 64, 64)
    >>> with detector.frozen():
    ...     odds = detector.odds(x)
    >>> odds.shape[::2], len(detector.detect(x))
    (torch.Size([2, 3]), 2)
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        name: str = "detector",
        sha256: str = "",
        source: str = "",
        classes: Sequence[str] = (),
        notes: Sequence[str] = (),
        device: str | torch.device = "cpu",
    ) -> None:
        """Wrap `module`; it is moved to `device`, and otherwise not touched."""
        found = next((kind for kind in _READERS if isinstance(module, kind)), None)
        if found is None:
            raise RefusedError(
                f"an object detector of torchvision: {KINDS}",
                type(module).__name__,
                "write for example torchvision:fasterrcnn_resnet50_fpn; classifiers are for audit",
            )
        self.module = module.to(device)
        self.name, self.sha256, self.source = name, sha256, source
        self.classes, self.notes = tuple(classes), tuple(notes)
        self.device = torch.device(device)
        self._read = _READERS[found]
        # Mode, weights, gradients and generators are kept for a detector as for a classifier.
        self.frozen = Classifier(module, name=name, device=device).frozen

    @property
    def threshold(self) -> float:
        """The confidence below which the module itself throws away what it sees."""
        inner: Any = getattr(self.module, "roi_heads", self.module)
        return float(inner.score_thresh)

    def detect(self, x: Tensor, confidence: float = 0.0) -> list[Boxes]:
        """What is seen on pictures `x` `[B,C,H,W]` in [0, 1], on the host, surest first.

        Only what is at least so sure; the module has a threshold of its own as well.
        """
        with self.frozen(), torch.no_grad():
            answers = self.module(list(x.to(self.device)))
        found = []
        for one in answers:
            boxes = Boxes(*(one[key].detach().cpu() for key in ("boxes", "labels", "scores")))
            found.append(boxes.take(boxes.scores >= confidence))
        return found

    def odds(self, x: Tensor) -> Tensor:
        """Log odds `[B,N,K]` of every label at every candidate for a box, differentiable in `x`.

        A candidate is a place of the grid, or a proposal in a Faster R-CNN; pictures with fewer
        are filled up with minus infinity, which also stands for the background. Nothing that the
        module detects is surer than its candidates. Call it within `frozen`.
        """
        kept: dict[str, Any] = {}
        with ExitStack() as hooks:
            for name in self._read.heads:
                head = self.module.get_submodule(name)
                hooks.enter_context(_kept(head, kept, name))
            self.module(list(x))
        odds = self._read.odds(kept)
        return odds.float()


def _kept(head: nn.Module, kept: dict[str, Any], name: str) -> Any:
    """A hook that keeps what `head` answers, until it is left."""

    def keep(_module: nn.Module, _given: Any, answer: Any) -> None:
        kept[name] = answer

    return head.register_forward_hook(keep)


class _Reader(NamedTuple):
    """Which parts of a kind of detector are listened to, and what their answers mean."""

    heads: tuple[str, ...]
    odds: Callable[[dict[str, Any]], Tensor]


def _of_softmax(logits: Tensor) -> Tensor:
    """Log odds of each class `[...,K]`, class 0 being the background; exact where one is sure."""
    top = functional.one_hot(logits.argmax(-1), logits.shape[-1]).bool()
    others = logits.masked_fill(top, -torch.inf).logsumexp(-1, keepdim=True)
    # Any but the likeliest has at most even odds: there is nothing to lose in 1 - p.
    share = logits.log_softmax(-1).clamp_max(-0.5)
    odds = torch.where(top, logits - others, share - torch.log(-torch.expm1(share)))
    background = torch.arange(logits.shape[-1], device=logits.device) == 0
    return odds.masked_fill(background, -torch.inf)


def _of_centred(head: dict[str, Tensor]) -> Tensor:
    """FCOS: the score is the geometric mean of the class's and the centre's."""
    both = functional.logsigmoid(head["cls_logits"]) + functional.logsigmoid(head["bbox_ctrness"])
    share = (both / 2).clamp_max(-1e-30)
    return share - torch.log(-torch.expm1(share))


def _of_proposals(kept: dict[str, Any]) -> Tensor:
    """Faster R-CNN: the classes of each proposal, the pictures' rows one after another."""
    logits, _ = kept["roi_heads.box_predictor"]
    proposals, _ = kept["rpn"]
    rows = _of_softmax(logits).split([len(one) for one in proposals])
    return nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=-torch.inf)


_READERS: dict[type[nn.Module], _Reader] = {
    GeneralizedRCNN: _Reader(("rpn", "roi_heads.box_predictor"), _of_proposals),
    RetinaNet: _Reader(("head",), lambda kept: kept["head"]["cls_logits"]),
    FCOS: _Reader(("head",), lambda kept: _of_centred(kept["head"])),
    SSD: _Reader(("head",), lambda kept: _of_softmax(kept["head"]["cls_logits"])),
}
