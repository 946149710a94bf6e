"""Whether the attacks make sense of each other: more budget and more steps may not fool less."""

import torch

from robustkit.audit.adaptive import aimed
from robustkit.audit.bout import Ring
from robustkit.audit.findings import finding
from robustkit.audit.standing import Standing
from robustkit.records import Finding
from robustkit.threat import ThreatModel

LOOKED_AT = 24
FEWEST = 8
"""With fewer fooled pictures than this, a share of them says nothing."""
MISSED = 0.2
"""Share of pictures fooled before that a longer or freer attack may miss."""
MANY = "pgd:steps=100,loss=margin,restarts=2"


def incoherent(ring: Ring, standing: Standing) -> list[Finding]:
    """Attack fooled pictures again, with many steps and then with twice the budget as well."""
    if standing.threat.startswith(("l0", "patch")):
        return []
    rows = standing.fooled[standing.counted()].nonzero().squeeze(1)[:LOOKED_AT]
    if len(rows) < FEWEST:
        return []
    threat = ThreatModel.parse(standing.threat, ring.model.bounds)
    many = aimed(MANY, ring.model)
    long = ring.attack(many, threat, rows)
    if _missed(long.fooled):
        left = int((~long.fooled).sum())
        message = f"{many} failed on {left} of {len(rows)} pictures that had been fooled."
        return [finding("RK-STEPS", message, threat=standing.threat, left=left, tried=len(rows))]
    free = ring.attack(many, threat.with_eps(2 * float(threat.eps)), rows)
    if _missed(free.fooled):
        left = int((~free.fooled).sum())
        message = f"Within twice the budget {many} failed on {left} of {len(rows)} fooled pictures."
        return [finding("RK-EPS", message, threat=standing.threat, left=left, tried=len(rows))]
    return []


def _missed(fooled: torch.Tensor) -> bool:
    return float((~fooled).float().mean()) > MISSED
