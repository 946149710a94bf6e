"""What `certify` does: certificates in blocks, each kept as soon as it is made, and their sum."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from robustkit.audit.ledger import Ledger
from robustkit.audit.statistics import clopper_pearson
from robustkit.defenses.smoothing import ABSTAINED, Certificate, Smoothing, certify

if TYPE_CHECKING:
    from robustkit.audit.bout import Progress
    from robustkit.audit.plan import Plan
    from robustkit.loading import Samples
    from robustkit.model import Classifier

BLOCK = 16
"""Pictures to a line of the ledger: what a kill costs at most."""
STEPS = 8


def certified(
    plan: "Plan",
    smoothing: Smoothing,
    *,
    model: "Classifier",
    samples: "Samples",
    batch_size: int,
    progress: "Progress",
) -> Certificate:
    """The certificates of all samples; finished blocks are kept in `plan.out` and not made again.

    Raises UserError for a folder that holds another run, or one that is not to be resumed.
    """
    identity = {
        "model": model.sha256 or model.name, "preprocess": model.preprocess.describe(),
        "data": samples.sha256, "seed": plan.seed, **smoothing._asdict(),
    }  # fmt: skip
    ledger = Ledger(Path(plan.out or ""), identity, resume=plan.resume)
    progress.phase(f"certify at sigma {smoothing.sigma:g}", len(samples))
    parts = []
    for index in torch.arange(len(samples)).split(BLOCK):
        key = f"block {int(index[0])}"
        kept = ledger.get(key)
        if kept is None:
            x = samples.pixels(index).to(model.device)
            made = certify(model, x, index, smoothing, seed=plan.seed, batch_size=batch_size)
            kept = {name: value.tolist() for name, value in made._asdict().items()}
            ledger.put(key, kept)
        parts.append(kept)
        progress.advance(len(index))
    columns = {name: [v for part in parts for v in part[name]] for name in Certificate._fields}
    prediction = torch.tensor(columns["prediction"])
    radius, share = (torch.tensor(columns[name]).double() for name in ("radius", "share"))
    return Certificate(prediction, radius, share)


def summary(
    found: Certificate, y: torch.Tensor, smoothing: Smoothing, radii: Sequence[float]
) -> dict[str, Any]:
    """The share of samples with labels `y` that are right and proven at each radius.

    Without `radii`, eight steps of half a sigma. Intervals are exact, at 95 %.
    """
    n, right = len(y), found.prediction == y
    shown = radii or [step * smoothing.sigma / 2 for step in range(STEPS)]
    rows = []
    for radius in shown:
        count = int((right & (found.radius >= radius)).sum())
        interval = clopper_pearson(count, n)
        rows.append({"radius": radius, "certified_accuracy": count / n, "interval": interval})
    return {
        **smoothing._asdict(),
        "samples": n,
        "abstained": int((found.prediction == ABSTAINED).sum()) / n,
        "mean_radius": float(torch.where(right, found.radius, 0.0).mean()),
        "certified": rows,
    }
