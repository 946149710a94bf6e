"""AttackBench's yardstick: a model that counts, remembers the nearest errors, and gives out.

Cina et al. 2025, arXiv 2404.19460. Whoever attacks, the meter alone says what came out: the
smallest perturbation, in one norm, of any point that the model was asked about and got wrong,
within `limit` forwards and backwards of each sample. What is asked after that is answered wrongly,
without a gradient, and does not count.
"""

import torch
from torch import Tensor, nn

from robustkit.model import Classifier
from robustkit.norms import NORMS

LIMIT = 2000


class SpentError(Exception):
    """Every sample has had its propagations."""


class Meter(nn.Module):
    """A classifier as a module, pixels in [0, 1] to logits, which keeps the books of each sample.

    `x` `[N,C,H,W]` are the pictures and `y` `[N]` their labels; `nearest`, `forwards` and
    `backwards` are `[N]`. Points are clamped to the bounds before the model sees them. As many
    points as samples are one for each, in their order; of fewer or more it is found out by distance
    whose they are: to where each sample was last seen, and to the picture itself. `about` says
    which samples are asked about from now on.
    """

    def __init__(
        self, model: Classifier, x: Tensor, *, y: Tensor, norm: str, limit: int = LIMIT
    ) -> None:
        super().__init__()
        self.inner = model.module
        self.ask, self.norm, self.limit = model.__call__, NORMS[norm], limit
        self.x, self.y, self.last = x, y, x.clone()
        self.rows: Tensor | None = None
        self.nearest = torch.full((len(x),), torch.inf)
        self.forwards = torch.zeros(len(x), dtype=torch.int64)
        self.backwards = torch.zeros(len(x), dtype=torch.int64)
        self.eval()

    @property
    def spent(self) -> Tensor:
        """Which samples have had all their propagations, `[N]`."""
        return self.forwards + self.backwards >= self.limit

    def about(self, rows: Tensor | None) -> None:
        """Say which samples the next points belong to; None leaves it to distance."""
        self.rows = rows

    def forward(self, points: Tensor) -> Tensor:
        """Logits `[B, K]`, of no use for samples that are spent; raises SpentError if all are."""
        if bool(self.spent[... if self.rows is None else self.rows].all()):
            raise SpentError
        seen = points.detach()
        rows = self._owners(seen)
        # Clamping has no gradient on the bounds themselves, where pixels often are.
        points = seen.clamp(0, 1) + (points - seen)
        logits = self.ask(points)
        live = ~self.spent[rows]
        self.forwards.index_add_(0, rows, live.long())
        self._note(points.detach(), logits.detach(), rows=rows, live=live)
        if logits.requires_grad:
            logits.register_hook(lambda _: self._count(rows))
        return torch.where(live[:, None], logits, self._wrong(rows, logits))

    def _note(self, points: Tensor, logits: Tensor, *, rows: Tensor, live: Tensor) -> None:
        """Keep the distances of errors that are nearer than those before; NaN is no picture."""
        size = self.norm.size(points - self.x[rows])
        hit = live & size.isfinite() & (logits.argmax(1) != self.y[rows])
        size = torch.where(hit, size, torch.inf)
        self.nearest.scatter_reduce_(0, rows, size, "amin")
        self.last[rows] = points

    def _count(self, rows: Tensor) -> None:
        live = ~self.spent[rows]
        self.backwards.index_add_(0, rows, live.long())

    def _wrong(self, rows: Tensor, logits: Tensor) -> Tensor:
        wrong = (self.y[rows] + 1) % logits.shape[1]
        return nn.functional.one_hot(wrong, logits.shape[1]).to(logits)

    def _owners(self, points: Tensor) -> Tensor:
        rows = torch.arange(len(self.x)) if self.rows is None else self.rows
        if len(points) == len(rows):
            return rows
        flat = points.flatten(1)
        known = torch.stack([self.x[rows].flatten(1), self.last[rows].flatten(1)])
        return rows[torch.cdist(flat.expand(2, -1, -1), known).amin(0).argmin(1)]


def optimality(nearest: Tensor, envelope: Tensor) -> float:
    """AttackBench's local optimality: 1 for whoever finds every smallest known perturbation.

    Both are `[N]`: the attack's perturbations and the smallest known of anybody, 0 for pictures
    that the model gets wrong anyway and inf where nothing was found. Robust accuracy against the
    size of the perturbation is one curve for each; the score is 1 less the area between them, as
    a share of that between the envelope and an attack that finds nothing.

    >>> optimality(torch.tensor([0.0, 2.0, 4.0]), torch.tensor([0.0, 2.0, 4.0]))
    1.0
    >>> round(optimality(torch.tensor([0.0, 3.0, torch.inf]), torch.tensor([0.0, 2.0, 4.0])), 6)
    0.5
    """
    farthest = envelope[envelope.isfinite()].max()
    # The area below a curve of shares of samples is the mean of where they fall.
    area = nearest.clamp(max=farthest).double().mean()
    best = envelope.clamp(max=farthest).double().mean()
    nothing = farthest.double() * (envelope > 0).double().mean()
    return float(1 - (area - best) / (nothing - best)) if nothing > best else 1.0
