"""What `audit` and `demo` share: a plan carried out before a watching person, and its exit code."""

import re
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustkit.errors import PlanErrors, UserError
from robustkit.options import LOADING, OPTIONS
from robustkit.verbs.progress import watching

if TYPE_CHECKING:
    from robustkit.audit.plan import Plan
    from robustkit.records import AuditLog

RUNS = "robustkit-runs"
"""Where runs go that nobody named a folder for."""

PLANNED = (
    "threat", "suite", "attack", "data", *LOADING, "samples", "seed", "device",
    "batch-size", "budget", "at-least", "gate", "baseline", "claimed", "fail-untrusted", "out",
    "resume", "trace", "curve", "surrogate", "defense", "defense-data", "shard", "json",
)  # fmt: skip
"""The options of an audit, in the order of its help."""

_OF_THE_PLAN = {"threat": "threats", "attack": "attacks", "defense": "defenses"}
_NOT_OF_THE_PLAN = ("json", "fail_untrusted")


def run_folder(model: str) -> str:
    """A folder for a new run, `robustkit-runs/<time>-<model>`, which does not exist yet."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(model).stem or model).strip("-.") or "model"
    start = Path(RUNS) / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
    folder, number = start, 1
    while folder.exists():
        number += 1
        folder = start.with_name(f"{start.name}-{number}")
    return str(folder)


def planned(model: str | None, flags: Mapping[str, Any], *, out: str | None = None) -> "Plan":
    """The plan that the flags of `PLANNED` ask for; raises PlanErrors with all that is wrong."""
    from robustkit.audit.plan import make_plan

    found = _slips(model, flags)
    wanted = {_OF_THE_PLAN.get(key, key): value for key, value in flags.items()}
    for key in _NOT_OF_THE_PLAN:
        wanted.pop(key, None)
    wanted["out"] = out or flags.get("out") or run_folder(model or "zoo:digits-adversarial")
    try:
        plan = make_plan(model=model, **wanted)
    except PlanErrors as error:
        found += error.errors
    if found:
        raise PlanErrors(found)
    return plan


def _slips(model: str | None, flags: Mapping[str, Any]) -> list[UserError]:
    """What is wrong between the flags and the model, before the plan looks at each."""
    found = []
    if model is None and flags.get("data"):
        found.append(
            UserError(
                "a MODEL beside --data",
                "--data alone",
                "write robustkit audit MODEL --data ..; without both the embedded models are "
                "audited",
            )
        )
    if model is not None and not flags.get("data") and not model.startswith("zoo:"):
        found.append(
            UserError(
                "--data, the pictures to audit it on",
                f"{model!r} alone",
                "add --data FOLDER, --data FILE.npz or --data SCHEME:NAME",
            )
        )
    baseline = flags.get("baseline")
    if baseline and not Path(baseline).exists():
        found.append(
            UserError(
                "--baseline, the --out folder of an earlier audit",
                f"{baseline!r}, where there is nothing",
                "check the path",
            )
        )
    if flags.get("resume") and not flags.get("out"):
        found.append(
            UserError(
                "--out beside --resume, the run to go on with",
                "--resume alone",
                f"add --out {RUNS}/NAME, as the interrupted run printed it",
            )
        )
    return found


def carried_out(plan: "Plan", *, command: str, out: str | None = None) -> "AuditLog":
    """The log of a plan, which records the `command` that asked for it.

    Whoever interrupts it is told how to go on: the same with `--resume`, in the folder `out` if
    that is not the plan's own.
    """
    from robustkit.audit.conduct import conduct
    from robustkit.audit.device import choose_device
    from robustkit.loading import load, open_samples
    from robustkit.verbs.flipping import answer

    try:
        device = str(choose_device(plan.device))
        model = load(plan.model, device=device, **plan.loading())
        samples = open_samples(plan.data)
        answer(model, samples.pixels([0]))
        with watching() as progress:
            progress.note(f"{model.name} on {samples.name}: {', '.join(plan.threats)}")
            noted = plan.model_copy(update={"command": command})
            return conduct(noted, model=model, samples=samples, progress=progress)
    except KeyboardInterrupt as stop:
        if plan.out and (Path(plan.out) / "ledger.jsonl").exists():
            again = shlex.join(["--out", out or plan.out, "--resume"])
            stop.add_note(f"what is finished is kept; go on with: {command} {again}")
        raise


def written_out(verb: str, model: str | None, flags: Mapping[str, Any]) -> str:
    """The command that says what these flags say; where its run is kept is no part of it.

    >>> written_out("audit", "a b.pt", {"samples": 9, "threat": ("l2:1",), "out": "run"})
    "robustkit audit 'a b.pt' --samples 9 --threat l2:1"
    """
    words = ["robustkit", verb, *([model] if model else [])]
    for key, value in flags.items():
        one = OPTIONS[key.replace("_", "-")]
        if one.name in ("out", "resume") or value in (None, False, (), one.default):
            continue
        if one.kind == "switch":
            words.append(one.flag)
        for part in _values(value):
            words += [one.flag, str(part)]
    return shlex.join(words)


def _values(value: Any) -> Sequence[Any]:
    """The values that follow a flag: none after a switch, several where it is repeated."""
    if value is True:
        return ()
    return value if isinstance(value, tuple) else (value,)


def exit_code(logs: Iterable["AuditLog"], *, fail_untrusted: bool) -> int:
    """What the process leaves with: a breach first, then distrust, then what is not decided."""
    logs = list(logs)
    verdicts = {gate.verdict for log in logs for gate in log.gates}
    if "FAIL" in verdicts or any(one.significant_drop for log in logs for one in log.comparisons):
        return 1
    if fail_untrusted and not all(log.trusted for log in logs):
        return 6
    if "UNDECIDED" in verdicts or any(log.status != "complete" for log in logs):
        return 5
    return 0
