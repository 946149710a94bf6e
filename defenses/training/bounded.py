"""Training for interval bounds: less of the loss of clean pictures, more of what a box may hold."""

from torch import Tensor

from robustkit.defenses.ibp import Bounds, need_linf
from robustkit.defenses.ibp_rules import Interval
from robustkit.defenses.training.assembly import Objective, cross_entropy
from robustkit.defenses.training.inner import Batch
from robustkit.model import Classifier
from robustkit.threat import ThreatModel


def ibp(*, kappa: float = 0.5) -> Objective:
    """Clean cross-entropy and that of the worst logits within eps (Gowal et al. 2018, 1810.12715).

    The weight of the clean part falls from 1 to `kappa` while eps grows: give eps half of the run
    to do so. Batch norm bounds are those of its running statistics. Raises UserError for threats
    other than linf, and for a network with a layer that has no rule.
    """

    def objective(model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
        need_linf(threat)
        clean = 1 - (1 - kappa) * batch.share
        low, high = threat.bounds
        eps = float(threat.eps)
        box = Interval((batch.x - eps).clamp_min(low), (batch.x + eps).clamp_max(high))
        lowest = Bounds(model).margins(box, batch.y)
        worst = -lowest.scatter(1, batch.y[:, None], 0.0)
        bounded = cross_entropy(worst, batch.y)
        return clean * cross_entropy(model(batch.x), batch.y) + (1 - clean) * bounded

    return objective
