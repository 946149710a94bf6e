"""Adaptive attacks: any attack on a view of a defended model, judged on the model as deployed.

An attack that follows the gradient of a defense fails where that is broken on purpose (Athalye et
al. 2018, arXiv 1802.00420; Tramer et al. 2020, arXiv 2002.08347). A view is the same model with
another gradient or without a part; `model.views` holds them. What does not know the model at all
looks at `model.surrogate` instead, another model, and its pictures are to transfer.
"""

from copy import copy
from dataclasses import replace

from torch import Tensor

from robustkit.attacks.attack import Attack
from robustkit.attacks.parts.elsewhere import judged_always, judged_last, mean_answer, moved
from robustkit.errors import UserError
from robustkit.model import Classifier

UNDEFENDED = "undefended"
"""The view of who does not know of the defense, and so cannot ask the defended model either."""

SURROGATE = "surrogate"
"""The view of who has another model of the same data; it costs the model under test one query."""


EXPECTED = "expected"
"""The view of who asks a model that draws random numbers many times, and takes the mean."""

EOT = 20
"""Looks that are averaged where a defense draws random numbers."""


class Expected(Classifier):
    """A model that draws random numbers, its answers the mean of `EOT` fresh ones.

    Expectation over transformation (Athalye et al. 2018) for attacks that look only once at a
    point, gradient or none. Every look is counted. The mean is that of the probabilities.

    >>> import torch
    >>> from torch import nn
    >>> model = Expected(Classifier(nn.Flatten(), random=True))
    >>> model(torch.zeros(2, 1, 1, 3)).shape, model.forwards
    (torch.Size([2, 3]), 40)
    """

    def __init__(self, model: Classifier) -> None:
        """Stand for `model`, with counters of its own."""
        self.__dict__.update(copy(model).__dict__)
        self.forwards = self.backwards = 0

    def __call__(self, x: Tensor) -> Tensor:
        """The logarithms of the mean probabilities, `[B, K]`."""
        return mean_answer([super(Expected, self).__call__(x) for _ in range(EOT)])

    def gradient(self, outputs: Tensor, x: Tensor, *, again: bool = False) -> Tensor:
        """The gradient through all the answers, each of which is counted."""
        self.backwards += len(x) * (EOT - 1)
        return super().gradient(outputs, x, again=again)


def viewed(attack: Attack, view: str) -> Attack:
    """`attack` on `model.views[view]`; the model as deployed is asked after every step.

    On the views `undefended` and `surrogate` it is asked once, at the end. Where the model draws
    random numbers, an attack that takes no mean by itself sees one (`Expected`).

    >>> from robustkit.attacks.pgd import pgd
    >>> viewed(pgd(steps=5), "bpda-identity").name
    'pgd@bpda-identity'
    """
    averages = attack.settings.get("eot", 1) > 1

    def where(model: Classifier) -> Classifier:
        """What is looked at instead of the model under test."""
        seen = seen_by(model, view)
        return Expected(seen) if seen.random and not averages and view != EXPECTED else seen

    there = moved(attack, where, free=view == SURROGATE)
    settings = {**attack.settings, "view": view}
    return replace(_judged(there, view), name=f"{attack.name}@{view}", settings=settings)


def _judged(attack: Attack, view: str) -> Attack:
    """The attack with whom that view lets it ask for success, and when."""
    if view == EXPECTED:
        # What it looks at is the model as deployed already.
        return attack
    return judged_last(attack) if view in (UNDEFENDED, SURROGATE) else judged_always(attack)


def seen_by(model: Classifier, view: str) -> Classifier:
    """What an attack on that view of a model looks at."""
    if view == SURROGATE:
        assert model.surrogate is not None, "attacks on a surrogate are refused without one"
        return model.surrogate
    return model.views[view]


def no_surrogate() -> UserError:
    """An attack asks for a surrogate, and there is none."""
    return UserError(
        "--surrogate MODEL, another model of the same data to make the examples on",
        "none",
        "add --surrogate MODEL; several of them are taken together",
    )
