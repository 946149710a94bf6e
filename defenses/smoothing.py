"""Randomized smoothing: a model's majority vote under Gaussian noise, and how far it must hold.

Cohen et al. 2019 (1902.02918), algorithm CERTIFY: where the vote for a class is, with confidence
1 - alpha, above a half, it is the same for every picture within sigma Phi^-1(vote) in l2. That is a
proof about the vote, not about the model itself, and about pictures that may leave [0, 1]: noisy
pictures are not clipped. Deviation: the noise is a keyed Box-Muller draw of 24 bits, cut off at 5.8
sigma.
"""

from math import log
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robustkit.draws import Draws
from robustkit.errors import UserError
from robustkit.model import Classifier

ABSTAINED = -1
_CHOICE, _ESTIMATE, _SEEN = 1, 2, 3


class Smoothing(NamedTuple):
    """How votes are taken: `sigma` of the noise in pixels, and how many are taken.

    `first` noisy copies choose the class, `draws` others estimate its share; each certificate is
    wrong with a probability of `alpha` at most.
    """

    sigma: float
    draws: int = 10_000
    first: int = 100
    alpha: float = 0.001

    def checked(self) -> "Smoothing":
        """Itself; raises UserError for values that cannot be meant."""
        if not (0 < self.sigma < float("inf") and min(self.draws, self.first) > 0):
            raise UserError("sigma, draws and first draws > 0", f"{self}", "write --sigma 0.5")
        if not 0 < self.alpha < 1:
            raise UserError("alpha in (0, 1)", f"{self.alpha}", "write --alpha 0.001")
        return self


class Certificate(NamedTuple):
    """What is proven of each picture, `[B]` on the CPU.

    `prediction` is the vote's class, or ABSTAINED; `radius` the l2 radius in pixels within which it
    cannot change, 0 where abstained; `share` the lower bound of the vote that proves it.
    """

    prediction: Tensor
    radius: Tensor
    share: Tensor


def certify(
    model: Classifier,
    x: Tensor,
    index: Tensor,
    smoothing: Smoothing,
    *,
    seed: int = 0,
    batch_size: int = 256,
) -> Certificate:
    """Certify pictures `x` `[B,C,H,W]`, whose numbers `index` `[B]` key the noise.

    `batch_size` is in noisy pictures and changes the speed only. The model is run in evaluation
    mode and left as it was. Raises UserError for settings that cannot be meant.
    """
    from scipy.special import ndtri

    sigma, draws, first, alpha = smoothing.checked()
    noise = Draws.keyed(seed, index.to(x.device))
    with model.frozen(seed), torch.no_grad():
        chosen = votes(model, x, noise.at(_CHOICE), sigma, draws=first, batch_size=batch_size)
        counted = votes(model, x, noise.at(_ESTIMATE), sigma, draws=draws, batch_size=batch_size)
    prediction = chosen.argmax(1)
    hits = counted.gather(1, prediction[:, None]).squeeze(1)
    share = lower_bounds(hits, draws, alpha)
    proven = share > 0.5
    radius = sigma * torch.from_numpy(ndtri(share.numpy()))
    return Certificate(
        torch.where(proven, prediction, ABSTAINED),
        torch.where(proven, radius, 0.0),
        share,
    )


def votes(
    model: Classifier, x: Tensor, noise: Draws, sigma: float, *, draws: int, batch_size: int
) -> Tensor:
    """How many of `draws` noisy copies of each picture go to each class, `[B, K]` on the CPU.

    Copies whose logits are not finite go to no class.
    """
    rows = torch.arange(len(x), device=x.device).repeat_interleave(draws)
    number = torch.arange(draws, device=x.device).repeat(len(x))
    total = None
    for some, draw in zip(rows.split(batch_size), number.split(batch_size), strict=True):
        drawn = noise.take(some).at(draw).normal(x.shape[1:]).to(x)
        logits = model(x[some] + sigma * drawn)
        if total is None:
            total = torch.zeros(len(x), logits.shape[1], dtype=torch.int64, device=x.device)
        valid = logits.isfinite().all(1).to(torch.int64)
        total.index_put_((some, logits.argmax(1)), valid, accumulate=True)
    assert total is not None
    return total.cpu()


class Noisy(nn.Module):
    """The vote as its attacker sees it: the mean probability of a few copies, as logits.

    Salman et al. 2019 (1906.04584). The copies carry the same noise in every look, so that steps of
    an attack add up; `copies` of them make the vote's gradient.
    """

    def __init__(self, model: Classifier, sigma: float, *, copies: int = 32, seed: int = 0) -> None:
        super().__init__()
        self.model, self.module = model, model.module
        self.sigma, self.copies, self.seed = sigma, copies, seed

    def forward(self, x: Tensor) -> Tensor:
        """Pictures `[B,C,H,W]` to logits `[B,K]`."""
        drawn = Draws.keyed(self.seed, torch.arange(self.copies, device=x.device)).at(_SEEN)
        noise = self.sigma * drawn.normal(x.shape[1:]).to(x)
        logits = self.model((x[:, None] + noise).flatten(0, 1))
        share = logits.log_softmax(1).view(len(x), self.copies, -1).logsumexp(1)
        return share - log(self.copies)


def lower_bounds(hits: Tensor, n: int, alpha: float) -> Tensor:
    """The exact one-sided lower bounds of Clopper & Pearson for `hits` `[B]` out of `n`, float64.

    >>> lower_bounds(torch.tensor([0, 90, 100]), 100, 0.001)
    tensor([0.0000, 0.7753, 0.9333], dtype=torch.float64)
    """
    from scipy.special import betaincinv

    k = hits.double().numpy()
    bound = torch.from_numpy(betaincinv(k.clip(min=1), n - k + 1, alpha))
    return torch.where(hits > 0, bound, 0.0)
