"""What may stand behind a model: functions of its logits that leave the decision alone.

They change what an attacker reads, not what the model decides, and have never made one robust
(Athalye et al. 2018, arXiv 1802.00420). The audit attacks without them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Postprocess:
    """A last step, from logits `[B, K]` to what is answered, `[B, K]`."""

    name: str
    run: Callable[[Tensor], Tensor]
    settings: Mapping[str, object] = field(default_factory=dict)


def rounded(*, decimals: int = 3) -> Postprocess:
    """Probabilities rounded to so many decimals: no gradient anywhere.

    >>> import torch
    >>> rounded(decimals=1).run(torch.tensor([[2.0, 0.0]]))
    tensor([[0.9000, 0.1000]])
    """
    return Postprocess(
        "rounded", lambda logits: logits.softmax(1).round(decimals=decimals), {"decimals": decimals}
    )


def scaled(*, factor: float = 1000.0) -> Postprocess:
    """Logits times a constant: where softmax saturates, cross-entropy has no gradient."""
    return Postprocess("scaled", lambda logits: logits * factor, {"factor": factor})


POSTPROCESS: dict[str, Callable[..., Postprocess]] = {"rounded": rounded, "scaled": scaled}
"""By name."""
