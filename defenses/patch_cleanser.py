"""PatchCleanser: hide a patch wherever it is, and prove that hiding it was enough.

Xiang et al. 2022 (arXiv 2108.09135). A few masks are chosen so that each place of the patch lies
under one of them. Where the model says the same under every two of the masks, no patch can change
what double masking answers: whatever it shows, one mask hides it, and all votes that could overrule
that mask see it hidden as well. It holds for any model, and often only
for one that was trained by the objective `masked`.
"""

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor, nn

from robustkit.errors import UserError
from robustkit.model import Classifier
from robustkit.rectangle import sides
from robustkit.threat import ThreatModel

LEAD = 1e-5
"""By how much of the logits' size an answer must lead, so that no rounding turns it."""


@dataclass(frozen=True)
class Certificate:
    """What is proven of each picture, `[B]` on the CPU.

    `prediction` is what double masking answers for the picture as it is; `proven` says that it
    answers the same whatever a patch shows, and wherever it is put.
    """

    prediction: Tensor
    proven: Tensor


@dataclass(frozen=True, eq=False)
class Cleanser:
    """A model behind masks: `hidden` `[M,1,H,W]` is True where a mask hides, by `fill`.

    `batch_size` is in masked pictures and changes the speed only. The model must be frozen.
    """

    model: Classifier
    hidden: Tensor
    fill: float = 0.0
    batch_size: int = 512

    def answers(self, x: Tensor, row: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Class and lead `[N]` of pictures `x[row]` `[N]` behind two masks each, `[N,2]`."""
        found = []
        for some, pair in zip(
            row.split(self.batch_size), masks.split(self.batch_size), strict=True
        ):
            hidden = self.hidden[pair[:, 0]] | self.hidden[pair[:, 1]]
            logits = self.model(x[some].masked_fill(hidden, self.fill))
            top = logits.topk(min(2, logits.shape[1])).values
            lead = (top[:, 0] - top[:, -1]) / logits.abs().amax(1).clamp_min(1e-30)
            found.append((logits.argmax(1), lead))
        labels, leads = zip(*found, strict=True)
        return torch.cat(labels), torch.cat(leads)

    def first_round(self, x: Tensor) -> Tensor:
        """The classes behind one mask each, `[B,M]`."""
        batch, count = len(x), len(self.hidden)
        row = torch.arange(batch, device=x.device).repeat_interleave(count)
        mask = torch.arange(count, device=x.device).repeat(batch)
        return self.answers(x, row, torch.stack((mask, mask), 1))[0].view(batch, count)

    def double_masking(self, x: Tensor) -> Tensor:
        """The defended prediction `[B]` for pictures `x`, attacked or not (algorithm 1)."""
        first = self.first_round(x)
        chosen = first.mode(1).values
        row, mask = (first != chosen[:, None]).nonzero().unbind(1)
        if not len(row):
            return chosen
        count = len(self.hidden)
        other = torch.arange(count, device=x.device).repeat(len(row))
        pairs = torch.stack((mask.repeat_interleave(count), other), 1)
        second = self.answers(x, row.repeat_interleave(count), pairs)[0].view(-1, count)
        overruling = (second == first[row, mask][:, None]).all(1)
        # The first mask that nothing contradicts overrules the others.
        place = torch.full_like(chosen, count)
        place = place.scatter_reduce(0, row[overruling], mask[overruling], "amin")
        label = first.gather(1, place.clamp_max(count - 1)[:, None]).squeeze(1)
        return torch.where(place < count, label, chosen)

    def certify(self, x: Tensor) -> Certificate:
        """Certify pictures `x` `[B,C,H,W]` against one patch that fits under the masks."""
        prediction, first = self.double_masking(x), self.first_round(x)
        proven = (first == first[:, :1]).all(1)
        row = proven.nonzero().squeeze(1)
        pairs = torch.combinations(
            torch.arange(len(self.hidden), device=x.device), with_replacement=True
        )
        if len(row):
            label, lead = self.answers(
                x, row.repeat_interleave(len(pairs)), pairs.repeat(len(row), 1)
            )
            same = label.view(len(row), -1) == prediction[row, None]
            proven[row] = (same & (lead.view(len(row), -1) > LEAD)).all(1)
        return Certificate(prediction.cpu(), proven.cpu())


class Masked(nn.Module):
    """The first round as its attacker sees it: the mean probability behind all masks, as logits."""

    def __init__(self, guard: Cleanser) -> None:
        super().__init__()
        self.guard, self.module = guard, guard.model.module

    def forward(self, x: Tensor) -> Tensor:
        """Pictures `[B,C,H,W]` to logits `[B,K]`."""
        hidden, fill = self.guard.hidden[None], self.guard.fill
        logits = self.guard.model(x[:, None].masked_fill(hidden, fill).flatten(0, 1))
        share = logits.log_softmax(1).view(len(x), hidden.shape[1], -1).logsumexp(1)
        return share - log(hidden.shape[1])


def cleanser(
    model: Classifier,
    x: Tensor,
    threat: ThreatModel,
    *,
    masks: int = 6,
    fill: float = 0.0,
    batch_size: int = 512,
) -> Cleanser:
    """PatchCleanser of a model for pictures like `x` and a patch threat, `masks` to a side.

    Raises UserError for another threat, and for fewer than two masks.
    """
    return Cleanser(model, mask_set(x, threat, masks=masks), fill, batch_size)


def mask_set(like: Tensor, threat: ThreatModel, *, masks: int = 6) -> Tensor:
    """The fewest masks, at most `masks` to a side, under one of which each patch lies whole.

    True where they hide, `[M,1,H,W]`.

    >>> mask_set(torch.zeros(1, 1, 28, 28), ThreatModel.parse("patch:5x5"), masks=4).shape[0]
    16
    """
    if threat.norm_name != "patch" or masks < 2:
        raise UserError(
            "a patch threat and two masks or more to a side",
            f"{threat.text} and {masks}",
            "write --threat patch:5x5 --masks 6",
        )
    height, width = (int(side) for side in sides(like[:1], threat.budget(like[:1]), threat.shape))
    down, across = _spans(like.shape[2], height, masks), _spans(like.shape[3], width, masks)
    hidden = down[:, None, :, None] & across[None, :, None, :]
    return hidden.flatten(0, 1)[:, None].to(like.device)


def _spans(length: int, patch: int, masks: int) -> Tensor:
    """What each mask hides of one axis, `[masks, length]`: every patch lies whole in one."""
    stride = -(-(length - patch + 1) // masks)
    size = min(length, patch + stride - 1)
    starts = torch.tensor(sorted({*range(0, length - size, stride), length - size}))[:, None]
    place = torch.arange(length)
    return (place >= starts) & (place < starts + size)
