"""One audit from plan to log: load, clean pass, bouts, trials, records, files."""

import platform
import sys
import time
from copy import copy
from datetime import UTC, datetime
from pathlib import Path

import torch

from robustkit import __version__
from robustkit.attacks import build
from robustkit.attacks.transfer import fuse
from robustkit.audit import adaptive, suspicion, trials
from robustkit.audit.attacking import check_access
from robustkit.audit.baseline import check_readable, compare_with
from robustkit.audit.bout import Progress, Ring, Silent, attack_records
from robustkit.audit.claims import check_claim
from robustkit.audit.curve import ATTACKS as CURVES
from robustkit.audit.curve import security_curve
from robustkit.audit.device import choose_batch_size, choose_device
from robustkit.audit.engine import Engine
from robustkit.audit.findings import finding
from robustkit.audit.judges import Judges
from robustkit.audit.ledger import Ledger, fingerprint
from robustkit.audit.patch_study import patch_study
from robustkit.audit.pictures import Pictures, examples
from robustkit.audit.plan import Bout, Plan, make_plan
from robustkit.audit.rejection import rejection
from robustkit.audit.standing import Clean, Standing
from robustkit.audit.tracing import traces
from robustkit.defenses.pipeline import Pipeline
from robustkit.defenses.written import defended
from robustkit.loading import load, open_samples
from robustkit.loading.samples import Samples
from robustkit.model import Classifier
from robustkit.records import AuditLog, Example, Finding, SampleRecord, ThreatRecord
from robustkit.report.run_directory import write_run

UNTRUSTED = {
    "RK-ZERO-GRADIENT", "RK-UNBOUNDED", "RK-TRAIN-MODE", "RK-NONFINITE", "RK-CHANCE", "RK-TRANSFER",
    "RK-BLACK-BOX",
}  # fmt: skip
"""Findings that, at severity high, void the number."""


def conduct(
    plan: Plan,
    *,
    model: Classifier | None = None,
    samples: Samples | None = None,
    progress: Progress | None = None,
) -> AuditLog:
    """Carry a plan out and write its run directory, if it names one.

    `model` and `samples` stand in for the plan's names. Raises RobustkitError for what cannot be
    loaded or audited; KeyboardInterrupt passes through, and the finished units stay on the disk.
    """
    started = time.perf_counter()
    if plan.baseline:
        check_readable(Path(plan.baseline))
    device = choose_device(plan.device)
    if model is None:
        model = load(plan.model, device=device, **plan.loading())
    if plan.defenses:
        clean = open_samples(plan.defense_data) if plan.defense_data else None
        model = defended(model, plan.defenses, clean)
    plan = adaptive.adapted(plan, model)
    if plan.surrogate:
        model = copy(model)
        model.surrogate = fuse(
            [
                load(one, arch=plan.arch, preprocess=plan.preprocess, device=device)
                for one in plan.surrogate
            ]
        )
    check_attacks(plan, model)
    samples = _shard(samples or open_samples(plan.data), plan).take(plan.samples)
    ring = _ring(plan, model, samples, progress or Silent())
    with model.frozen(plan.seed):
        log = _log(plan, ring)
    log = log.model_copy(update={"seconds": round(time.perf_counter() - started, 3)})
    if ring.folder:
        write_run(log, ring.folder)
    if plan.baseline:
        log = log.model_copy(update={"comparisons": compare_with(Path(plan.baseline), log)})
        if ring.folder:
            write_run(log, ring.folder)
    return log


def check_attacks(plan: Plan, model: Classifier) -> None:
    """Refuse a plan whose attacks need to see more of the model than it shows."""
    for bout in plan.bouts:
        norm = bout.threat.partition(":")[0]
        curve = [CURVES[norm]] if plan.curve and norm in CURVES else []
        for attack in (*bout.attacks, *curve):
            check_access(build(attack), model)


def _log(plan: Plan, ring: Ring) -> AuditLog:
    """Measure, and put what came out into a log."""
    model, samples = ring.model, ring.samples
    clean = ring.clean_pass()
    suspicion.check_labels(samples, clean.classes)
    found = suspicion.before(model, samples, clean)
    judges = Judges(plan, clean.right(samples.y))
    standings = ring.fight(list(plan.bouts), clean, judges.decided)
    records, more = _verdicts(plan, ring, standings, clean, found)
    claimed = plan.claimed
    return AuditLog(
        status="complete" if _whole(records, len(samples), judges) else "partial",
        version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=plan.command,
        plan=plan.model_dump(mode="json", exclude={"command"}),
        model=model.record(),
        data=samples.record(),
        threats=tuple(records),
        findings=(*found, *more),
        trusted=all(record.trusted for record in records),
        gates=tuple(judges.gates(records)),
        claims=() if claimed is None else tuple(check_claim(r, claimed) for r in records),
        environment=_environment(model, ring),
        seed=plan.seed,
        examples=tuple(_examples(ring, plan, standings, clean)),
        samples=tuple(_samples(plan, standings, samples, clean)),
        traces=tuple(traces(plan, ring, standings, clean)) if plan.trace else (),
    )


def _whole(records: list[ThreatRecord], asked: int, judges: Judges) -> bool:
    """Whether every sample was met, or the gates were decided without the rest."""
    return judges.early or all(record.samples == asked for record in records)


def _shard(samples: Samples, plan: Plan) -> Samples:
    """Every n-th sample from the i-th on."""
    if plan.shard is None:
        return samples
    first, step = plan.shard
    kept = slice(first - 1, None, step)
    return Samples.of(
        samples.x[kept], samples.y[kept], ids=samples.ids[kept], classes=samples.classes,
        name=f"{samples.name} shard {first}/{step}",
    )  # fmt: skip


def _ring(plan: Plan, model: Classifier, samples: Samples, progress: Progress) -> Ring:
    folder = Path(plan.out) if plan.out else None
    numbers = samples.x[0].numel()
    size = plan.batch_size or choose_batch_size(model.device, numbers)
    deadline = time.monotonic() + plan.budget_seconds if plan.budget_seconds else None
    identity = {
        **plan.identity(),
        "model": fingerprint(model),
        "data": samples.sha256,
        "version": __version__,
    }
    ledger = Ledger(folder, identity, resume=plan.resume)
    engine = Engine(batch_size=size, seed=plan.seed)
    pictures = Pictures(folder)
    return Ring(model, samples, engine, ledger, pictures, progress, deadline, folder)


def _verdicts(
    plan: Plan, ring: Ring, standings: dict[str, Standing], clean: Clean, found: list[Finding]
) -> tuple[list[ThreatRecord], list[Finding]]:
    """Trials, findings and the record of every threat."""
    records, findings = [], []
    ring.progress.phase("trials", len(plan.bouts))
    for bout in plan.bouts:
        standing = standings[bout.threat]
        mine = suspicion.after(standing, bout, clean)
        # A defense is always tried: no suite and no flag takes that away.
        if (plan.trials or ring.model.views) and standing.reached:
            mine += trials.hold(ring, standing, clean, [*found, *mine])
        right = clean.right(ring.samples.y)[standing.counted()]
        mine += adaptive.gap(standing, right)
        mine += _limits(plan, bout, standing, len(ring.samples))
        rows = attack_records(standing, bout, int(right.sum()))
        voided = any(f.id in UNTRUSTED and f.severity == "high" for f in (*found, *mine))
        record = standing.record(ring.samples, clean, rows)
        record = record.model_copy(
            update={
                "trusted": not voided,
                "curve": security_curve(ring, standing, clean) if plan.curve else (),
                "patch": patch_study(ring, standing, clean) if plan.trials else None,
                "oblivious_accuracy": adaptive.oblivious(standing, right),
                "rejection": rejection(ring, standing, clean),
            }
        )
        records.append(record)
        findings += mine
        ring.progress.advance(1)
    return records, findings


def _limits(plan: Plan, bout: Bout, standing: Standing, asked: int) -> list[Finding]:
    """What the audit itself left undone."""
    found = []
    if standing.reached < asked:
        message = f"{standing.reached} of {asked} samples met the whole cascade within the budget."
        found.append(finding("RK-PARTIAL", message, threat=bout.threat))
    if plan.suite == "quick":
        message = "The suite quick was used: read the number as a loose upper bound."
        found.append(finding("RK-QUICK", message, threat=bout.threat))
    return found


def _examples(
    ring: Ring, plan: Plan, standings: dict[str, Standing], clean: Clean
) -> list[Example]:
    shown: list[Example] = []
    if ring.folder is None:
        return shown
    for bout in plan.bouts:
        standing = standings[bout.threat]
        prefix = f"{bout.threat}|"
        units = [unit for unit in ring.ledger.units() if unit.startswith(prefix)]
        shown += examples(
            ring.pictures, units,
            standing=standing, samples=ring.samples, clean=clean, folder=ring.folder,
            model=ring.model,
        )  # fmt: skip
    return shown


def _samples(
    plan: Plan, standings: dict[str, Standing], samples: Samples, clean: Clean
) -> list[SampleRecord]:
    rows: list[SampleRecord] = []
    for bout in plan.bouts:
        rows += standings[bout.threat].samples(samples, clean)
    return rows


def _environment(model: Classifier, ring: Ring) -> dict[str, str | int]:
    """Where the audit ran: what a reader needs to get the same number."""
    name = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else ""
    return {
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "platform": platform.platform(),
        "device": f"{model.device} {name}".strip(),
        "threads": torch.get_num_threads(),
        "batch_size": ring.engine.batch_size,
    }


def audit(
    model: Classifier | Pipeline | torch.nn.Module | str | Path,
    data: object,
    threat: object = "linf:8/255",
    *,
    suite: str | None = None,
    **settings: object,
) -> AuditLog:
    """Audit a model on data against one threat or several, and return the log.

    `model` is a Classifier, a Pipeline, a module, or whatever `load` takes; `data` is a pair
    `(x, y)`, `Samples`, or whatever `open_samples` takes; `settings` are those of `make_plan` and
    `Plan`.

    >>> log = audit("zoo:digits-standard", "zoo:digits", "linf:0.1", suite="quick", samples=20)
    >>> log.robust_accuracy <= log.clean_accuracy
    True
    """
    if isinstance(model, Pipeline):
        model = model.classifier()
    threats = threat if isinstance(threat, (list, tuple)) else [threat]
    texts = [getattr(one, "text", one) for one in threats]
    plan = make_plan(threats=texts, suite=suite, **settings)  # type: ignore[arg-type]
    device = choose_device(plan.device)
    loaded = load(model, device=device, **plan.loading())
    plan = replace_names(plan, loaded, samples := open_samples(data))  # type: ignore[arg-type]
    return conduct(plan, model=loaded, samples=samples)


def replace_names(plan: Plan, model: Classifier, samples: Samples) -> Plan:
    """The plan with the names of what was handed over, not those of the defaults."""
    return plan.model_copy(update={"model": model.name, "data": samples.name})
