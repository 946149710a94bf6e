"""Adaptive attacks: any attack on a view of a defended model, judged on the model as deployed.

An attack that follows the gradient of a defense fails where that is broken on purpose (Athalye et
al. 2018, arXiv 1802.00420; Tramer et al. 2020, arXiv 2002.08347). A view is the same model with
another gradient or without a part; `model.views` holds them. What does not know the model at all
looks at `model.surrogate` instead, another model, and its pictures are to transfer.
"""

from dataclasses import replace

from robustkit.attacks.attack import Attack
from robustkit.attacks.parts.elsewhere import judged_always, judged_last, moved
from robustkit.errors import UserError
from robustkit.model import Classifier

UNDEFENDED = "undefended"
"""The view of who does not know of the defense, and so cannot ask the defended model either."""

SURROGATE = "surrogate"
"""The view of who has another model of the same data; it costs the model under test one query."""


def viewed(attack: Attack, view: str) -> Attack:
    """`attack` on `model.views[view]`; the model as deployed is asked after every step.

    On the views `undefended` and `surrogate` it is asked once, at the end.

    >>> from robustkit.attacks.pgd import pgd
    >>> viewed(pgd(steps=5), "bpda-identity").name
    'pgd@bpda-identity'
    """
    there = moved(attack, lambda model: seen_by(model, view), free=view == SURROGATE)
    last = view in (UNDEFENDED, SURROGATE)
    judged = judged_last(there) if last else judged_always(there, attack.settings.get("eot", 1))
    settings = {**attack.settings, "view": view}
    return replace(judged, name=f"{attack.name}@{view}", settings=settings)


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
