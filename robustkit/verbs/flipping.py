"""One picture turned into another class: made to fit, looked at, attacked, judged."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from robustkit.attacks.attack import Attack, pose, unrolled
from robustkit.audit.referee import rule
from robustkit.errors import RefusedError, RobustkitError, UserError
from robustkit.goal import Goal
from robustkit.loading.folder import read_picture
from robustkit.model import Classifier
from robustkit.threat import ThreatModel


class Flip(NamedTuple):
    """What became of one picture; `x_adv` is `[1,C,H,W]` on the host.

    `fooled` is the referee's verdict, `eight_bit` whether it survives rounding to 8-bit pixels.
    """

    x_adv: Tensor
    fooled: bool
    eight_bit: bool
    label: int
    confidence: float
    size: float
    queries: int


class Surest(Goal):
    """The same goal, never reached: an attack goes on, and keeps its most confident point."""

    def reached(self, logits: Tensor) -> Tensor:
        """No, `[B]`."""
        return torch.zeros(len(logits), dtype=torch.bool, device=logits.device)


def flip(
    attack: Attack,
    model: Classifier,
    x: Tensor,
    goal: Goal,
    *,
    threat: ThreatModel,
    seed: int = 0,
) -> Flip:
    """Attack one picture `x` `[1,C,H,W]` through all steps, not only to the first success.

    An attack with a fixed budget gives the most confident picture it saw, one that looks for the
    nearest gives that. Restarts end with the first that succeeds.
    """
    aim = goal.to(model.device)
    aim = aim if attack.minimum_norm else Surest(*aim)
    index = torch.zeros(1, dtype=torch.int64, device=model.device)
    before, queries = model.forwards, 0
    with model.frozen(seed), torch.no_grad():
        for restart in range(max(attack.restarts, 1)):
            problem = pose(
                model, x.to(model.device), aim, threat, index=index, seed=seed, restart=restart
            )
            x_adv = unrolled(attack, problem).x_adv.cpu()
            queries += model.forwards - before
            ruling = rule(
                model, x_adv, x=x, goal=goal, threat=threat,
                claimed=torch.zeros(1, dtype=torch.bool), batch_size=1,
            )  # fmt: skip
            before = model.forwards
            if ruling.fooled:
                break
    return Flip(
        x_adv, bool(ruling.fooled), bool(ruling.eight_bit), int(ruling.prediction),
        float(ruling.confidence), float(ruling.size), queries,
    )  # fmt: skip


def read(image: str) -> Tensor:
    """A picture file as `[1,C,H,W]` in [0, 1]; raises UserError where there is none."""
    path = Path(image).expanduser()
    if not path.is_file():
        raise UserError("IMAGE, a picture file", f"{image!r}, where there is none", "check it")
    return read_picture(path)[None].float().div(255)


def fitted(x: Tensor, model: Classifier) -> Tensor:
    """The picture in the colours and, if the model names one, the size that the model takes.

    Resized to cover and cropped to the middle, in whole steps of 1/255 as a file would hold it.
    """
    channels = next((w.shape[1] for w in model.module.parameters() if w.dim() == 4), x.shape[1])
    if x.shape[1] != channels and {x.shape[1], channels} == {1, 3}:
        weights = x.new_tensor((0.299, 0.587, 0.114)).view(1, 3, 1, 1)
        x = x.expand(-1, 3, -1, -1) if channels == 3 else (x * weights).sum(1, keepdim=True)
    size = model.preprocess.size
    if size and tuple(x.shape[-2:]) != size:
        scale = max(size[0] / x.shape[-2], size[1] / x.shape[-1])
        cover = [max(size[axis], round(x.shape[axis - 2] * scale)) for axis in (0, 1)]
        x = functional.interpolate(x, cover, mode="bilinear", antialias=True, align_corners=False)
        top, left = (cover[0] - size[0]) // 2, (cover[1] - size[1]) // 2
        x = x[..., top : top + size[0], left : left + size[1]]
    return x.clamp(0, 1).mul(255).round().div(255).contiguous()


def answer(model: Classifier, x: Tensor) -> Tensor:
    """The logits `[B,K]` of a model, which need not be frozen, for pictures, on the host.

    Raises RefusedError if the model does not take such pictures.
    """
    try:
        with model.frozen(), torch.no_grad():
            return model(x.to(model.device)).cpu()
    except RobustkitError:
        raise
    except Exception as error:  # noqa: BLE001 - a stranger's module may raise anything
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RefusedError(
            f"a model that takes pictures of shape {tuple(x.shape[1:])} (channels, height, width)",
            f"{type(error).__name__} from {model.name}: {reason}",
            "resize the pictures, or name a size: --preprocess 'mean=..;std=..;size=224x224'",
        ) from None


def probabilities(model: Classifier, x: Tensor) -> Tensor:
    """What the model gives each class for one picture, `[K]` on the host.

    Raises RefusedError if the model does not take such a picture or has no finite answer.
    """
    logits = answer(model, x)[0]
    if not logits.isfinite().all():
        raise RefusedError(
            "finite logits for the unchanged picture",
            f"NaN or infinity from {model.name}",
            "check --preprocess, and the weights with robustkit inspect",
        )
    return logits.softmax(0)
