"""The verdict in sentences: what was measured, whether to believe it, what was not looked at."""

from typing import Literal

from robustkit.records import AttackRecord, AuditLog, Finding, ThreatRecord
from robustkit.report.numbers import percent, span
from robustkit.report.text import plain
from robustkit.report.threats import read, title

Trust = Literal["trusted", "provisional", "untrusted"]

BOUND = (
    "Robust accuracy is an upper bound: a stronger attack can only lower it, "
    "and no attack can raise it."
)
BLACK_BOXES = ("square", "hop-skip-jump", "boundary", "nes", "spsa", "simba", "zoo", "one-pixel")


def headline(log: AuditLog) -> str:
    """The one sentence that everything else explains; an untrusted number is not in it."""
    if not log.threats:
        return f"UNTRUSTED: nothing was measured on {plain(log.model.name)}."
    return sentence(log.worst, log)


def sentence(record: ThreatRecord, log: AuditLog) -> str:
    """The verdict under one threat."""
    if not record.trusted:
        return (
            f"UNTRUSTED: no robust accuracy can be given for {plain(log.model.name)} under "
            f"{title(record.threat)} (n = {record.samples}). {_why(record, log)}"
        )
    if not record.samples:
        return f"No sample met the whole audit under {title(record.threat)}: nothing is known."
    text = (
        f"Of {record.samples} pictures {percent(record.robust_accuracy)} are still classified "
        f"correctly under every perturbation that was found within {title(record.threat)} "
        f"(95 % interval {span(record.interval)})."
    )
    return f"{_unfinished(log, record)}{text}"


def trust(log: AuditLog) -> Trust:
    """Whether the number can be relied upon.

    `provisional` is a number that is right as far as it goes: the run is not complete, or a
    finding of severity high or medium speaks against it.
    """
    if not log.trusted or not log.threats or any(not one.trusted for one in log.threats):
        return "untrusted"
    if log.status != "complete" or any(f.severity in ("high", "medium") for f in log.findings):
        return "provisional"
    return "trusted"


def trust_words(log: AuditLog) -> str:
    """The trust status in a sentence."""
    status = trust(log)
    if status == "untrusted":
        return "The findings below void the number. Do not quote it."
    if status == "provisional":
        serious = sum(f.severity in ("high", "medium") for f in log.findings)
        reasons = []
        if log.status != "complete":
            reasons.append(f"the run is {log.status}")
        if serious:
            reasons.append(f"{serious} finding{'s' * (serious > 1)} of weight")
        return f"{' and '.join(reasons).capitalize()}: read the number as an upper bound, no more."
    return "Every success was re-verified, and no sign of masked gradients was found."


def ordered(findings: tuple[Finding, ...]) -> list[Finding]:
    """Findings, the gravest first."""
    ranks = {"high": 0, "medium": 1, "low": 2, "info": 3}
    return sorted(findings, key=lambda one: (ranks[one.severity], one.id, one.threat))


def not_tested(log: AuditLog) -> list[str]:
    """What the number says nothing about, in sentences."""
    threats = [read(one.threat) for one in log.threats]
    norms = {threat.norm for threat in threats}
    missing = [norm for norm in ("linf", "l2", "l1", "l0") if norm not in norms]
    lines = []
    if missing:
        lines.append(f"Perturbations bounded in {_list(missing)}.")
    larger = [title(one.threat) for one in log.threats]
    if larger:
        lines.append(f"Anything beyond {_list(larger)}.")
    if "patch" not in norms:
        lines.append("Patches, stickers and changes in the physical world.")
    honest = {"spatial": "rotation", "corruption": "blur, weather, compression"}
    left = [what for name, what in honest.items() if name not in norms]
    if left:
        lines.append(f"{', '.join(left).capitalize()} and other honest corruptions.")
    if not any(is_black_box(one) for t in log.threats for one in t.attacks):
        lines.append("Attackers without gradients: no black-box attack was run.")
    lines.append("Attacks made for this very model, poisoned training data, backdoors.")
    return lines


def is_black_box(attack: AttackRecord) -> bool:
    """Whether an attack needs answers only; a record that does not say goes by its name."""
    if attack.access:
        return attack.access in ("scores", "decisions")
    return attack.name.partition(":")[0] in BLACK_BOXES


def _why(record: ThreatRecord, log: AuditLog) -> str:
    """The gravest finding, in its own words."""
    mine = [f for f in ordered(log.findings) if f.threat in ("", record.threat)]
    if not mine:
        return "The audit marked it so."
    more = sum(f.severity == "high" for f in mine[1:])
    others = f" and {more} more" if more else ""
    return f"{plain(mine[0].message)} ({plain(mine[0].id)}{others})"


def _unfinished(log: AuditLog, record: ThreatRecord) -> str:
    if log.status == "complete":
        return ""
    return f"{log.status.upper()} RUN, {record.samples} of {log.data.samples} samples: "


def _list(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
