"""Pictures behind masks, for a model that PatchCleanser is to certify."""

from torch import Tensor

from robustkit.defenses.patch_cleanser import mask_set
from robustkit.defenses.training.inner import Batch, Craft
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

_MASKS = 1


def two_masks(*, masks: int = 6, fill: float = 0.0) -> Craft:
    """Pictures to train on, each behind two masks of the set, drawn anew at every step.

    Against a patch of no area there is nothing to hide.
    """

    def craft(model: Classifier, batch: Batch, threat: ThreatModel) -> Tensor:
        if not float(threat.eps):
            return batch.x
        hidden = mask_set(batch.x, threat, masks=masks)
        pair = batch.draws(_MASKS).integers(len(hidden), (2,))
        return batch.x.masked_fill(hidden[pair[:, 0]] | hidden[pair[:, 1]], fill)

    return craft
