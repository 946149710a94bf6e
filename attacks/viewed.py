"""Adaptive attacks: any attack on a view of a defended model, judged on the model as deployed.

An attack that follows the gradient of a defense fails where that is broken on purpose (Athalye et
al. 2018, arXiv 1802.00420; Tramer et al. 2020, arXiv 2002.08347). A view is the same model with
another gradient or without a part; `model.views` holds them.
"""

from dataclasses import replace

from robustkit.attacks.attack import Attack
from robustkit.attacks.parts.elsewhere import judged_always, judged_last, moved

UNDEFENDED = "undefended"
"""The view of who does not know of the defense, and so cannot ask the defended model either."""


def viewed(attack: Attack, view: str) -> Attack:
    """`attack` on `model.views[view]`; the model as deployed is asked after every step.

    On the view `undefended` it is asked once, at the end.

    >>> from robustkit.attacks.pgd import pgd
    >>> viewed(pgd(steps=5), "bpda-identity").name
    'pgd@bpda-identity'
    """
    there = moved(attack, lambda model: model.views[view])
    last = view == UNDEFENDED
    judged = judged_last(there) if last else judged_always(there, attack.settings.get("eot", 1))
    settings = {**attack.settings, "view": view}
    return replace(judged, name=f"{attack.name}@{view}", settings=settings)
