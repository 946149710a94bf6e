"""Common corruptions as attacks that aim at nothing, and a model's accuracy under them.

Hendrycks & Dietterich 2019, arXiv 1903.12261: under the threat `corruption:SEVERITY` one kind, or
the worst of the fifteen for each picture; `robustkit.distortions.corruptions` says how those are
made.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Problem
from robustkit.attacks.parts.made import trying
from robustkit.distortions.corruptions import COMMON, KINDS, SEVERITIES, check_kind, corrupt
from robustkit.draws import Draws
from robustkit.model import Classifier

WORST = "worst"
NUMBERS = {kind: number for number, kind in enumerate(KINDS)}


def corruption(*, kind: str = WORST, queries: int = 1) -> Attack:
    """One `kind` of corruption, or the "worst" of the fifteen common ones; norm: corruption.

    Each kind is tried `queries` times with other draws. Raises UserError for another kind.

    >>> corruption(kind="fog").restarts, corruption().restarts
    (1, 15)
    """
    if kind != WORST:
        check_kind(kind)
    kinds = COMMON if kind == WORST else (kind,)

    def propose(problem: Problem, t: Tensor) -> Tensor:
        """This restart's kind, the severity, and the key of the draws, `[B,3]`."""
        number = NUMBERS[kinds[problem.restart]]
        key = problem.draws.at(number, t).key
        return torch.stack((torch.full_like(key, number), _severity(problem), key), 1)

    def make(problem: Problem, made: Tensor) -> Tensor:
        """The corrupted pictures."""
        eps = problem.threat.eps
        # One severity for all is a number, and spares the work for all others.
        severity = made[:, 1] if isinstance(eps, Tensor) else min(int(eps), SEVERITIES)
        x = corrupt(
            problem.x, kinds[problem.restart], severity, Draws(made[:, 2]),
            bounds=problem.threat.bounds,
        )  # fmt: skip
        return x.clamp(problem.low, problem.high)

    settings = {"kind": kind, "queries": queries}
    return trying("corruption", propose, queries, settings=settings, make=make, restarts=len(kinds))


def _severity(problem: Problem) -> Tensor:
    """The severities `[B]` in whole numbers; there is nothing beyond 5."""
    return problem.eps.floor().clamp(0, SEVERITIES).long()


class Accuracies(NamedTuple):
    """A model's accuracy by kind and severity, `[kinds, severities]`, and on clean pictures."""

    kinds: tuple[str, ...]
    severities: tuple[int, ...]
    accuracy: Tensor
    clean: float

    @property
    def mean(self) -> float:
        """The mean over all kinds and severities."""
        return float(self.accuracy.mean())


def corruption_accuracy(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    kinds: tuple[str, ...] = COMMON,
    severities: tuple[int, ...] = (1, 2, 3, 4, 5),
    seed: int = 0,
    batch_size: int = 64,
) -> Accuracies:
    """How often `model` is right on corrupted pictures `x` `[N,C,H,W]` with labels `y` `[N]`.

    The table of Hendrycks & Dietterich 2019, each picture with draws of its own. Raises UserError
    for an unknown kind or severity.

    >>> from torch import nn
    >>> model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)))
    >>> x, y = torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64)
    >>> corruption_accuracy(model, x, y, kinds=("fog", "jpeg")).accuracy.shape
    torch.Size([2, 5])
    """
    right = torch.zeros(len(kinds), len(severities), device=model.device)
    clean = torch.zeros((), device=model.device)
    with model.frozen(seed), torch.no_grad():
        for rows in torch.arange(len(x)).split(batch_size):
            some, label = x[rows].to(model.device), y[rows].to(model.device)
            draws = Draws.keyed(seed, rows.to(model.device))
            clean += (model(some).argmax(1) == label).sum()
            for place, kind in enumerate(kinds):
                for column, severity in enumerate(severities):
                    own = draws.at(NUMBERS.get(kind, 0), severity)
                    bad = corrupt(some, kind, severity, own, bounds=model.bounds)
                    right[place, column] += (model(bad).argmax(1) == label).sum()
    count = max(len(x), 1)
    return Accuracies(kinds, severities, right.cpu() / count, float(clean) / count)
