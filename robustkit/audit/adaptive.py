"""What is done to a defended model beside the suite: attacks that know the defense.

They follow from the model's views, which follow from what the parts of a defense declare. Every
audit of such a model runs them, whatever was asked for.
"""

from torch import Tensor

from robustkit.attacks import info
from robustkit.attacks.viewed import EOT, EXPECTED, UNDEFENDED
from robustkit.attacks.written import defaults
from robustkit.audit.findings import finding
from robustkit.audit.plan import Bout, Plan
from robustkit.audit.standing import Standing
from robustkit.losses import EVASIVE
from robustkit.model import Classifier
from robustkit.records import Finding

AWARE = "detector-aware"
FOLLOWED = (AWARE, "bpda-surrogate", "no-post")
"""The views whose gradient is worth following, the best first."""
GRADIENTS = ("bpda-identity", "bpda-surrogate", "no-post", AWARE)
LP = ("linf", "l2", "l1")
CLIMBS = {
    **dict.fromkeys(LP, ("apgd-ce", "apgd-dlr")),
    "l0": ("sigma-zero:steps=300",),
    "patch": ("masked-pgd:steps=20,restarts=5",),
    "spatial": ("rotation-translation:rotations=7,shifts=3", "worst-of-k:queries=40"),
    "flow": ("stadv",),
    "corruption": ("corruption",),
}
"""The attacks that look at every view, by norm; those without a gradient at the model itself."""
BLIND = {
    **dict.fromkeys(LP, "square:queries=1000"),
    "l0": "one-pixel",
    "patch": "patch-rs:queries=1000",
}
"""The one that looks at none."""
DECIDED = {"linf": "rays:queries=500", "l2": "hop-skip-jump:queries=500"}
"""Attacks that need nothing but decisions; they are tried on a few survivors."""
WEIGHED = {**dict.fromkeys(LP, "apgd-ce"), "patch": "masked-pgd", "flow": "stadv"}
"""The attacks that climb the sum of both goals against a detector, by norm."""
MATCHING = tuple(
    f"feature-matching:steps=50,restarts=3,match={match}" for match in ("features", "logits")
)
"""Against a detector of any score; they come early, as their sources are the pictures they meet."""
CONFIDENT = "carlini-wagner:steps=300,rounds=3,confidence="
"""The nearest pictures that are surely wrong, to a detector of doubt as good as clean ones."""
CONFIDENCES = (1, 5, 20)
FEWER = 40
"""Steps where every look is a mean."""
GAP = 0.1


def adapted(plan: Plan, model: Classifier) -> Plan:
    """The plan with what the model's defense calls for; the same plan if it has none."""
    if not model.views:
        return plan
    bouts = tuple(_extended(bout, adaptive(bout, model)) for bout in plan.bouts)
    return plan.model_copy(update={"bouts": bouts})


def _extended(bout: Bout, more: list[str]) -> Bout:
    """Who knows nothing comes first, so that it meets every picture; then the suite; the rest.

    Attacks that look for sources among the pictures come second, while there are most of them.
    """
    known = [text for text in more if text.startswith("feature-matching")]
    first = [*more[:1], *known] if more and more[0].endswith(f"@{UNDEFENDED}") else []
    attacks = dict.fromkeys([*first, *bout.attacks, *more])
    added = tuple(text for text in attacks if text not in bout.attacks)
    return bout.model_copy(update={"attacks": tuple(attacks), "adaptive": added})


def adaptive(bout: Bout, model: Classifier) -> list[str]:
    """The attacks that a defended model has to stand under one threat, in order."""
    norm = bout.threat.partition(":")[0]
    climbs = CLIMBS.get(norm, ())
    blind = [] if any(_sees_scores(text) for text in bout.attacks) else [BLIND.get(norm, "")]
    blind = [steady(text, model) for text in blind if text]
    if model.access != "white-box":
        return [steady(text, model) for text in climbs if not _climbs(text)] + blind
    attacks = [f"{climbs[0]}@{UNDEFENDED}"] if climbs else []
    # End to end: the whole pipeline's own gradient, as far as it goes.
    attacks += [steady(climb, model) for climb in climbs]
    for view in GRADIENTS:
        if view in model.views:
            attacks += [_on(view, climb, model) for climb in climbs if _climbs(climb)]
    if AWARE in model.views:
        attacks += _evasions(norm, model)
    return attacks + blind


def _evasions(norm: str, model: Classifier) -> list[str]:
    """What gets past a detector: the sum of both goals, one at a time, a disguise, certainty."""
    attacks = []
    if norm in WEIGHED:
        attacks += [f"{WEIGHED[norm]}:loss=evasive-{weight:g}" for weight in EVASIVE]
    if norm in LP:
        attacks += ["orthogonal-pgd:mode=selective", "orthogonal-pgd", *MATCHING]
    sure = norm in info(CONFIDENT).norms
    if sure:
        attacks += [f"{CONFIDENT}{CONFIDENCES[0]}"]
    attacks = [_on(AWARE, text, model) for text in attacks]
    if sure:
        attacks += [f"{CONFIDENT}{confidence}@{UNDEFENDED}" for confidence in CONFIDENCES]
    return attacks


def _sees_scores(text: str) -> bool:
    return info(text).access == "scores"


def _climbs(text: str) -> bool:
    return info(text).access == "white-box"


def averaged(attack: str) -> str:
    """The attack for a random model: in fewer steps, every look a mean of `EOT` if it can take one.

    >>> averaged("apgd-ce:loss=margin"), averaged("stadv"), averaged("sigma-zero:steps=300")
    ('apgd-ce:loss=margin,steps=40,eot=20', 'stadv:steps=40', 'sigma-zero:steps=300')
    """
    if "eot=" in attack:
        return attack
    taken = defaults(info(attack).build)
    wanted = {"steps": FEWER, "eot": EOT}
    more = [f"{key}={n}" for key, n in wanted.items() if key in taken and f"{key}=" not in attack]
    return f"{attack}{',' if ':' in attack else ':'}{','.join(more)}" if more else attack


def steady(attack: str, model: Classifier) -> str:
    """The attack on the model as deployed, or on what is to be expected of a random one."""
    if not model.random:
        return attack
    mean = averaged(attack)
    return mean if "eot=" in mean or EXPECTED not in model.views else f"{mean}@{EXPECTED}"


def _on(view: str, attack: str, model: Classifier) -> str:
    """The attack on a view; one that takes no mean itself is given one there (`viewed`)."""
    return f"{averaged(attack) if model.random else attack}@{view}"


def aimed(attack: str, model: Classifier) -> str:
    """A gradient attack where its gradient is worth following: on the best of the model's views.

    Any other attack looks at a random model's mean; any on an undefended model stays as it is.
    """
    if not model.views:
        return attack
    view = next((view for view in FOLLOWED if view in model.views), "")
    return _on(view, attack, model) if view and _climbs(attack) else steady(attack, model)


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
