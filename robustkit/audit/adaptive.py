"""What is done to a defended model beside the suite: attacks that know the defense.

They follow from the model's views, which follow from what the parts of a defense declare. Every
audit of such a model runs them, whatever was asked for.
"""

from torch import Tensor

from robustkit.attacks import info
from robustkit.attacks.viewed import UNDEFENDED
from robustkit.audit.findings import finding
from robustkit.audit.plan import Bout, Plan
from robustkit.audit.standing import Standing
from robustkit.losses import EVASIVE
from robustkit.model import Classifier
from robustkit.records import Finding

EOT = 20
"""Looks that are averaged where a defense draws random numbers."""
FOLLOWED = ("detector-aware", "bpda-surrogate", "no-post")
"""The views whose gradient is worth following, the best first."""
GRADIENTS = ("bpda-identity", "bpda-surrogate", "no-post", "detector-aware")
LP = ("linf", "l2", "l1")
CLIMBS = {
    **dict.fromkeys(LP, ("apgd-ce", "apgd-dlr")),
    "l0": ("sigma-zero:steps=300",),
    "patch": ("masked-pgd",),
}
"""The attacks that look at every view, by norm."""
BLIND = {
    **dict.fromkeys(LP, "square:queries=1000"),
    "l0": "one-pixel",
    "patch": "patch-rs:queries=1000",
}
"""The one that looks at none."""
DECIDED = {"linf": "rays:queries=500", "l2": "hop-skip-jump:queries=500"}
"""Attacks that need nothing but decisions; they are tried on a few survivors."""
GAP = 0.1


def adapted(plan: Plan, model: Classifier) -> Plan:
    """The plan with what the model's defense calls for; the same plan if it has none."""
    if not model.views:
        return plan
    bouts = tuple(_extended(bout, adaptive(bout, model)) for bout in plan.bouts)
    return plan.model_copy(update={"bouts": bouts})


def _extended(bout: Bout, more: list[str]) -> Bout:
    """Who knows nothing comes first, so that it meets every picture; then the suite; the rest."""
    first = [text for text in more if text.endswith(f"@{UNDEFENDED}")]
    attacks = dict.fromkeys([*first, *bout.attacks, *more])
    added = tuple(text for text in attacks if text not in bout.attacks)
    return bout.model_copy(update={"attacks": tuple(attacks), "adaptive": added})


def adaptive(bout: Bout, model: Classifier) -> list[str]:
    """The attacks that a defended model has to stand under one threat, in order."""
    norm = bout.threat.partition(":")[0]
    if norm not in CLIMBS:
        return []
    blind = [BLIND[norm]] if not any(_sees_scores(text) for text in bout.attacks) else []
    if model.access != "white-box":
        return blind
    climbs = CLIMBS[norm]
    attacks = [f"{climbs[0]}@{UNDEFENDED}"]
    # End to end: the whole pipeline's own gradient, as far as it goes.
    attacks += [averaged(climb) if model.random else climb for climb in climbs]
    for view in GRADIENTS:
        if view in model.views:
            attacks += [_on(view, climb, model) for climb in climbs]
    if "detector-aware" in model.views and norm in LP:
        evasions = [f"apgd-ce:loss=evasive-{weight:g}" for weight in EVASIVE]
        evasions += ["orthogonal-pgd:mode=selective", "orthogonal-pgd"]
        attacks += [_on("detector-aware", text, model) for text in evasions]
    return attacks + blind


def _sees_scores(text: str) -> bool:
    return info(text).access == "scores"


def averaged(attack: str) -> str:
    """The attack with every look a mean of `EOT`, in fewer steps, if it can take one.

    >>> averaged("apgd-ce:loss=margin"), averaged("sigma-zero")
    ('apgd-ce:loss=margin,steps=40,eot=20', 'sigma-zero')
    """
    if "eot=" in attack or not attack.startswith(("apgd", "pgd", "orthogonal-pgd")):
        return attack
    steps = "" if "steps=" in attack else "steps=40,"
    return f"{attack}{',' if ':' in attack else ':'}{steps}eot={EOT}"


def _on(view: str, attack: str, model: Classifier) -> str:
    return f"{averaged(attack) if model.random else attack}@{view}"


def aimed(attack: str, model: Classifier) -> str:
    """A gradient attack where its gradient is worth following: on the best of the model's views.

    Any other attack, and any attack on an undefended model, stays as it is.
    """
    if info(attack).access != "white-box" or not model.views:
        return attack
    view = next((view for view in FOLLOWED if view in model.views), "")
    if view:
        return _on(view, attack, model)
    return averaged(attack) if model.random else attack


def followed(model: Classifier) -> Classifier:
    """The model as somebody sees it who looks for a gradient: its best view, or itself."""
    return next((model.views[view] for view in FOLLOWED if view in model.views), model)


def oblivious(standing: Standing, right: Tensor) -> float | None:
    """Robust accuracy against who does not know of the defense, None where there is none.

    `right` says which of the samples that count are classified correctly. The smallest
    perturbations say nothing of who spends his budget: they do not count here.
    """
    for text, tally in standing.tallies.items():
        if text.endswith(f"@{UNDEFENDED}") and info(text).kind == "fixed-budget":
            return (int(right.sum()) - tally.fooled) / max(standing.reached, 1)
    return None


def gap(standing: Standing, right: Tensor) -> list[Finding]:
    """Whether the defense lives on not being known."""
    before = oblivious(standing, right)
    robust = right & ~standing.fooled[standing.counted()]
    after = int(robust.sum()) / max(standing.reached, 1)
    if before is None or before - after <= GAP:
        return []
    message = (
        f"{before:.1%} resist an attacker who does not know of the defense, {after:.1%} one who "
        f"does (n = {standing.reached}); the number is the second one."
    )
    return [finding("RK-OBLIVIOUS", message, threat=standing.threat, before=before, after=after)]
