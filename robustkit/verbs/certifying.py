"""What `certify` does: certificates in blocks, each kept as soon as it is made, and their sum.

Beside the certificate an attack looks for what it rules out, so that the truth stands between two
numbers: certified accuracy from below, accuracy under attack from above.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from robustkit.audit.attacking import attack
from robustkit.audit.ledger import Ledger, fingerprint
from robustkit.audit.statistics import clopper_pearson
from robustkit.defenses.smoothing import ABSTAINED
from robustkit.errors import ToolError
from robustkit.threat import ThreatModel
from robustkit.verbs.certificates import Columns, Method

if TYPE_CHECKING:
    from robustkit.audit.bout import Progress
    from robustkit.audit.plan import Plan
    from robustkit.loading import Samples
    from robustkit.model import Classifier

BLOCK = 16
"""Pictures to a line of the ledger: what a kill costs at most."""


def certified(
    plan: "Plan",
    method: Method,
    *,
    model: "Classifier",
    samples: "Samples",
    attacked: bool,
    progress: "Progress",
) -> dict[str, Any]:
    """What is proven of all samples, and what attacks leave of it, as `--json` prints it.

    Finished blocks are kept in `plan.out` and not made again. Raises UserError for a folder that
    holds another run, ToolError if an attack succeeds where a certificate says that none can.
    """
    claims = [claim.text for claim in method.claims]
    identity = {
        "model": fingerprint(model), "preprocess": model.preprocess.describe(),
        "data": samples.sha256, "seed": plan.seed, "claims": claims, "attacked": attacked,
        **method.settings,
    }  # fmt: skip
    ledger = Ledger(Path(plan.out or ""), identity, resume=plan.resume)
    progress.phase(f"certify by {method.settings['method']}", len(samples))
    parts = []
    for index in torch.arange(len(samples)).split(BLOCK):
        key = f"block {int(index[0])}"
        kept = ledger.get(key)
        if kept is None:
            x = samples.pixels(index).to(model.device)
            columns = dict(method.prove(x, index))
            if attacked:
                columns |= _attacked(method, x, samples.y[index], index, columns)
            kept = {name: value.tolist() for name, value in columns.items()}
            ledger.put(key, kept)
        parts.append(kept)
        progress.advance(len(index))
    names = [name for name in parts[0] if name != "unit"]
    found = {name: torch.tensor([v for part in parts for v in part[name]]) for name in names}
    return summary(method, found, samples.y)


def _attacked(method: Method, x: Tensor, y: Tensor, index: Tensor, found: Columns) -> Columns:
    """Whether the answer for each picture is right and stays so under attack, a column a claim."""
    columns = {}
    for claim in method.claims:
        held = found["prediction"] == y
        rows = held.nonzero().squeeze(1)
        if len(rows) and float(claim.eps) > 0:
            for text in method.attacks:
                x_adv = attack(text, method.target, x[rows].cpu(), y[rows], claim).x_adv
                said = method.answers(x_adv.to(x.device), index[rows])
                held[rows] &= (said == y[rows]) | (said == ABSTAINED)
        columns[_column(claim)] = held
    return columns


def _column(claim: ThreatModel) -> str:
    return f"held {claim.text}"


def summary(method: Method, found: Columns, y: Tensor) -> dict[str, Any]:
    """The share of samples with labels `y` that are right and proven under each claim.

    With intervals, exact at 95 %, and beside it the share that stays right under attack. Raises
    ToolError where an attack contradicts a certificate.
    """
    n, right = len(y), found["prediction"] == y
    rows = []
    for claim in method.claims:
        proven = right & method.holds(found, claim)
        row = {"threat": claim.text, **_share("certified", proven)}
        if method.settings["method"] == "smoothing":
            row["radius"] = float(claim.eps)
        if _column(claim) in found:
            held = found[_column(claim)].bool()
            _check(int((proven & ~held).sum()), claim, method)
            row |= _share("attacked", held)
        rows.append(row)
    facts = {
        **method.settings,
        "samples": n,
        "clean_accuracy": int(right.sum()) / n,
        "certified": rows,
    }
    if "radius" in found:
        facts["abstained"] = int((found["prediction"] == ABSTAINED).sum()) / n
        facts["mean_radius"] = float(torch.where(right, found["radius"], 0.0).mean())
    return facts


def _share(name: str, found: Tensor) -> dict[str, Any]:
    count, n = int(found.sum()), len(found)
    interval = "interval" if name == "certified" else f"{name}_interval"
    return {f"{name}_accuracy": count / n, interval: clopper_pearson(count, n)}


def _check(contradicted: int, claim: ThreatModel, method: Method) -> None:
    """A certificate of smoothing may err, as often as its alpha says; the others may not."""
    if contradicted and method.settings["method"] != "smoothing":
        raise ToolError(
            f"no attack to succeed where {method.settings['method']} certifies {claim.text}",
            f"{contradicted} samples on which one does",
            "do not use the certificate, and report this with the model",
        )
