"""Trials: stronger attacks on a few survivors, and on all of them where they move the number.

A finding does more than warn: its mitigation is run (Pintor et al. 2022). What moves on the small
sample is run on every survivor and becomes part of the cascade; what an unlimited attacker cannot
break at all makes the number untrusted.
"""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.attacks import build, info
from robustkit.audit.adaptive import CLIMBS, DECIDED, aimed
from robustkit.audit.bout import Ring
from robustkit.audit.coherence import incoherent
from robustkit.audit.engine import Task
from robustkit.audit.findings import finding
from robustkit.audit.plausible import implausible
from robustkit.audit.referee import rule
from robustkit.audit.standing import Clean, Standing
from robustkit.goal import Goal
from robustkit.model import Classifier
from robustkit.records import Finding
from robustkit.threat import ThreatModel
from robustkit.transforms import TRANSFORMS

TRIED = 24
"""Survivors that a trial looks at."""
FEW = 0.02
"""Share of the survivors that may fall to another model's pictures by chance."""
TRANSFERRED = "mi-fgsm:steps=20,loss=margin"
UNBROKEN = 0.1
"""Share of them that an unlimited attacker may leave before the number is untrusted."""


RETRIES = 10
"""How often an attacker may send the same picture to a model that draws random numbers."""


class Trial(NamedTuple):
    """An attack to try, and the weakness of the audit that it would show."""

    attack: str
    tests: str


LONG = Trial("pgd:steps=100,loss=margin", "more steps with the margin loss")
QUERIES = Trial("square:queries=400", "a black box that needs no gradient")
PLACES = Trial("patch-rs:queries=400", "a black box that needs no gradient")
SMOOTH = Trial("pgd:steps=20,eot=8,sigma=0.03", "a gradient averaged over noise")
STAND_IN = Trial("pgd:steps=40,loss=margin,stand_in=true", "a stand-in for rounding (BPDA)")
EXPECTED = Trial("pgd:steps=40,eot=10", "the expectation over the model's randomness")
MUTE = {"RK-ZERO-GRADIENT", "RK-SATURATED", "RK-SOFTMAX", "RK-BLACK-BOX"}
"""Findings after which gradients and scores may tell less than the bare decisions."""


def choose(norm: str, findings: list[Finding], model: Classifier) -> list[Trial]:
    """The trials that fit a norm, the model, and what was found about it."""
    trials = [LONG, QUERIES, PLACES]
    seen = {found.id for found in findings}
    if norm in DECIDED and (model.views or seen & MUTE):
        trials.append(Trial(DECIDED[norm], "an attacker who sees decisions alone"))
    if "RK-ZERO-GRADIENT" in seen:
        trials.insert(0, STAND_IN)
    if "RK-UNSTABLE" in seen:
        trials.insert(0, SMOOTH)
    if "RK-RANDOM" in seen:
        trials.insert(0, EXPECTED)
    return [
        trial._replace(attack=aimed(trial.attack, model))
        for trial in trials
        if norm in info(trial.attack).norms
    ]


def hold(ring: Ring, standing: Standing, clean: Clean, found: list[Finding]) -> list[Finding]:
    """Try stronger attacks on some survivors; extend to all where one succeeds.

    Returns the findings; `standing` is worse afterwards if anything moved.
    """
    findings: list[Finding] = []
    # No attack of a ball is stronger on transformations, and no lack of a limit means anything.
    if standing.threat.partition(":")[0] not in TRANSFORMS:
        findings += _tried(ring, standing, clean, found)
    if ring.model.access == "white-box" and not ring.late:
        findings += _retried(ring, standing, clean)
    return findings + implausible(ring, standing, clean)


def _tried(ring: Ring, standing: Standing, clean: Clean, found: list[Finding]) -> list[Finding]:
    """The trials under a threat with a norm, and what else an attacker without limits shows."""
    findings: list[Finding] = []
    norm = standing.threat.partition(":")[0]
    seen = ring.model.access == "white-box"
    blind = [PLACES if norm == "patch" else QUERIES]
    for trial in choose(norm, found, ring.model) if seen else blind:
        survivors = _survivors(ring, standing, clean)
        if not len(survivors) or ring.late:
            break
        moved = _extend(ring, standing, trial, survivors)
        if moved:
            findings.append(_moved(standing, trial, len(survivors), moved))
    if seen and not ring.late:
        findings += incoherent(ring, standing)
        findings += _unlimited(ring, standing, clean)
        findings += _transferred(ring, standing, clean)
    return findings


def _retried(ring: Ring, standing: Standing, clean: Clean) -> list[Finding]:
    """Whether a random model that resists by most of its answers is wrong in some of them."""
    rows = _survivors(ring, standing, clean)[:TRIED]
    climbs = CLIMBS.get(standing.threat.partition(":")[0], ())
    if not (ring.model.random and climbs and len(rows)):
        return []
    threat = ThreatModel.parse(standing.threat, ring.model.bounds)
    attacked = ring.attack(aimed(climbs[0], ring.model), threat, rows).x_adv
    wrong = _wrong_at_times(ring, rows, attacked)
    if not wrong:
        return []
    unattacked = _wrong_at_times(ring, rows, ring.samples.pixels(rows))
    message = (
        f"Of {len(rows)} pictures that resist by most answers {wrong} are answered wrongly at "
        f"least once when the attacked one is sent {RETRIES} times; unattacked, {unattacked} are."
    )
    return [
        finding(
            "RK-RETRY", message, threat=standing.threat,
            wrong=wrong, unattacked=unattacked, tried=len(rows),
        )
    ]  # fmt: skip


def _wrong_at_times(ring: Ring, rows: Tensor, x: Tensor) -> int:
    """How many of the pictures `x` fool the model in at least one of several answers."""
    goal = Goal(ring.samples.y[rows], abstain=ring.model.abstain)
    wrong = torch.zeros(len(rows), dtype=torch.bool)
    with torch.no_grad():
        for part in torch.arange(len(rows)).split(ring.engine.batch_size):
            for _ in range(RETRIES):
                logits = ring.model(x[part].to(ring.model.device)).cpu()
                wrong[part] |= goal.take(part).reached(logits)
    return int(wrong.sum())


def _survivors(ring: Ring, standing: Standing, clean: Clean) -> Tensor:
    robust = standing.robust(clean.right(ring.samples.y))[standing.counted()]
    return robust.nonzero().squeeze(1)


def _extend(ring: Ring, standing: Standing, trial: Trial, survivors: Tensor) -> int:
    """Run a trial on a few and, if it broke any, on the rest; how many it broke."""
    before = int(standing.fooled.sum())
    if not ring.unit(trial.attack, standing, survivors[:TRIED], "trial"):
        return 0
    if int(standing.fooled.sum()) == before:
        # What moved nothing is no part of the cascade.
        standing.tallies.pop(trial.attack)
        return 0
    ring.unit(trial.attack, standing, survivors[TRIED:], "trial, all")
    tally = standing.tallies[trial.attack]
    tally.robust_after = len(survivors) - tally.fooled
    return int(standing.fooled.sum()) - before


def _moved(standing: Standing, trial: Trial, survivors: int, broken: int) -> Finding:
    share = broken / max(standing.reached, 1)
    before = survivors / max(standing.reached, 1)
    return finding(
        "RK-MOVED",
        f"{trial.tests[0].upper()}{trial.tests[1:]} ({trial.attack}) moved robust accuracy from "
        f"{before:.1%} to {before - share:.1%} (n = {standing.reached}); the number includes it.",
        threat=standing.threat,
        severity="medium" if share > 0.05 else "low",
        before=before,
        after=before - share,
        attack=trial.attack,
    )


def _unlimited(ring: Ring, standing: Standing, clean: Clean) -> list[Finding]:
    """Whether an attacker without a budget succeeds, as he must."""
    rows = _survivors(ring, standing, clean)[:TRIED]
    if not len(rows):
        return []
    attack = aimed("pgd:steps=50,step_size=0.05,loss=margin", ring.model)
    result = ring.attack(attack, ThreatModel("linf", 1.0), rows)
    left = int((~result.fooled).sum())
    if left <= UNBROKEN * len(rows):
        return []
    return [
        finding(
            "RK-UNBOUNDED",
            f"With no limit on the perturbation {left} of {len(rows)} pictures still resist.",
            threat=standing.threat,
            left=left,
            tried=len(rows),
        )
    ]


def _transferred(ring: Ring, standing: Standing, clean: Clean) -> list[Finding]:
    """Whether pictures made against the surrogate fool survivors, as only masking explains."""
    rows = _survivors(ring, standing, clean)
    if ring.model.surrogate is None or not len(rows):
        return []
    threat = ThreatModel.parse(standing.threat, ring.model.bounds)
    x, goal = ring.samples.pixels(rows), Goal(ring.samples.y[rows])
    task = Task(ring.model.surrogate, x, goal, threat, rows)
    with ring.model.surrogate.frozen(ring.engine.seed):
        made = replace(ring.engine, dropping=False).run(build(TRANSFERRED), task)
    ruling = rule(
        ring.model, made.x_adv, x=x, goal=goal._replace(abstain=ring.model.abstain),
        threat=threat, claimed=made.fooled,
        batch_size=ring.engine.batch_size,
    )  # fmt: skip
    broken = int(ruling.fooled.sum())
    if broken <= FEW * len(rows):
        return []
    name = ring.model.surrogate.name
    message = f"Pictures made against {name} fooled {broken} of {len(rows)} survivors."
    return [finding("RK-TRANSFER", message, threat=standing.threat, broken=broken, tried=len(rows))]
