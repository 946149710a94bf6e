"""The security curve: robust accuracy at every budget, from one minimum-norm run.

The smallest perturbation found for a sample answers every budget at once. What the cascade found
counts too, so that the curve never lies above the audit's own number.
"""

import torch
from torch import Tensor

from robustkit.audit.adaptive import aimed
from robustkit.audit.bout import Ring
from robustkit.audit.standing import Clean, Standing
from robustkit.audit.statistics import clopper_pearson
from robustkit.records import CurvePoint
from robustkit.threat import ThreatModel

ATTACKS = {"linf": "fmn", "l2": "ddn", "l1": "pdpgd", "l0": "sigma-zero"}
POINTS = 10
REACH = 2.0
"""How far the curve goes, as a multiple of the threat's own budget."""


def security_curve(ring: Ring, standing: Standing, clean: Clean) -> tuple[CurvePoint, ...]:
    """Robust accuracy at `POINTS` budgets up to twice the threat's; the model must be frozen.

    Empty for patches, for which there is no attack that looks for the smallest.
    """
    threat = ThreatModel.parse(standing.threat, ring.model.bounds)
    if threat.norm_name not in ATTACKS:
        return ()
    rows = clean.right(ring.samples.y)[standing.counted()].nonzero().squeeze(1)
    sizes = _smallest(ring, threat, rows)
    known = torch.where(standing.fooled[rows], standing.size[rows], torch.inf)
    sizes = torch.minimum(sizes, known)
    points = []
    for step in range(1, POINTS + 1):
        eps = round(float(threat.eps) * REACH * step / POINTS, 9)
        robust = int((sizes > eps * (1 + 1e-6) + 2e-7).sum())
        points.append(
            CurvePoint(
                eps=eps,
                robust_accuracy=robust / max(standing.reached, 1),
                interval=clopper_pearson(robust, standing.reached),
            )
        )
    return tuple(points)


def _smallest(ring: Ring, threat: ThreatModel, rows: Tensor) -> Tensor:
    """The size of the smallest success for each of `rows`, infinite where there is none."""
    if not len(rows):
        return torch.zeros(0)
    attack = aimed(ATTACKS[threat.norm_name], ring.model)
    whole = threat.with_eps(_everything(threat, ring.samples.x[0].numel()))
    ring.progress.note(f"security curve by {attack}")
    result = ring.attack(attack, whole, rows)
    return torch.where(result.fooled, result.size, torch.inf)


def _everything(threat: ThreatModel, numbers: int) -> float:
    """A budget that every picture lies within."""
    width = threat.bounds[1] - threat.bounds[0]
    power = {"linf": 0.0, "l2": 0.5, "l1": 1.0, "l0": 1.0}[threat.norm_name]
    return float(numbers**power * (1.0 if threat.norm_name == "l0" else width))
