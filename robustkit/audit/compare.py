"""Two audits of the same samples, compared sample by sample.

Paired samples see a drop that two intervals beside each other do not: what both models get right
or wrong does not blur what changed.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from robustkit.audit.statistics import mcnemar
from robustkit.errors import UserError
from robustkit.records import AuditLog, ComparisonRecord, ThreatRecord

SIGNIFICANT = 0.05


class Side(NamedTuple):
    """What a comparison needs of an audit.

    `attacks` holds the versions of the attacks that were asked for, by threat; `robust` one flag a
    sample, by threat, in the order of the sample ids that `ids_sha256` is the digest of.
    """

    name: str
    data: str
    data_sha256: str
    ids_sha256: str
    samples: int
    trusted: bool
    attacks: dict[str, dict[str, int]]
    robust: dict[str, tuple[bool, ...]]


Row = tuple[str, int]
"""A sample's id and its true class."""


def compare(before: AuditLog, after: AuditLog) -> tuple[ComparisonRecord, ...]:
    """Compare two logs on the samples that both have, a record a threat.

    Raises UserError, with the difference, where data, threats or attacks are not the same, or a
    number is not trusted.
    """
    known = {id_ for id_, _ in rows_of(before)}
    shared = [row for row in rows_of(after) if row[0] in known]
    if not shared:
        raise _different("samples", f"{len(known)} others", f"{after.data.samples}, none shared")
    return compare_sides(side(before, shared), side(after, shared), shared)


def compare_sides(before: Side, after: Side, rows: Sequence[Row]) -> tuple[ComparisonRecord, ...]:
    """Compare two sides whose samples are `rows`; raises as `compare` does."""
    _same(before, after)
    return tuple(_paired(threat, before, after, rows) for threat in after.robust)


def side(log: AuditLog, rows: Sequence[Row]) -> Side:
    """The part of a log that a comparison on `rows` needs.

    Raises UserError for a log without records of these samples.
    """
    robust = {}
    for record in log.threats:
        outcomes = {one.id: one.outcome for one in log.samples if one.threat == record.threat}
        missing = sum(id_ not in outcomes for id_, _ in rows)
        if missing or not rows:
            raise UserError(
                f"a record of every sample under {record.threat}",
                f"{missing} of {len(rows)} missing in the audit of {log.model.name}",
                "give the whole run directory, with samples.jsonl",
            )
        robust[record.threat] = tuple(outcomes[id_] == "robust" for id_, _ in rows)
    return Side(
        name=log.model.name,
        data=log.data.name,
        data_sha256=log.data.sha256,
        ids_sha256=digest([id_ for id_, _ in rows]),
        samples=len(rows),
        trusted=log.trusted,
        attacks={record.threat: _versions(log, record) for record in log.threats},
        robust=robust,
    )


def rows_of(log: AuditLog) -> list[Row]:
    """Id and true class of every sample, in order."""
    if not log.threats:
        return []
    first = log.threats[0].threat
    return [(one.id, one.label) for one in log.samples if one.threat == first]


def digest(ids: Sequence[str]) -> str:
    """A digest of sample ids and their order."""
    return hashlib.sha256("\0".join(ids).encode()).hexdigest()


def _versions(log: AuditLog, record: ThreatRecord) -> dict[str, int]:
    """The versions of the attacks that were asked for; trials may have added others since."""
    versions = {one.name: one.version for one in record.attacks}
    for bout in log.plan.get("bouts", ()):
        if bout["threat"] == record.threat:
            return {name: versions[name] for name in bout["attacks"] if name in versions}
    return versions


def _same(before: Side, after: Side) -> None:
    """Refuse a comparison of what cannot be compared."""
    for one in (before, after):
        if not one.trusted:
            raise UserError(
                "two audits whose numbers are trusted",
                f"an untrusted one of {one.name}",
                "mend what its findings say, audit again, then compare",
            )
    if before.data_sha256 != after.data_sha256:
        raise _different(
            "data", f"{before.data} {before.data_sha256[:12]}",
            f"{after.data} {after.data_sha256[:12]}",
        )  # fmt: skip
    if set(before.robust) != set(after.robust):
        raise _different("threats", ", ".join(before.robust), ", ".join(after.robust))
    if (before.samples, before.ids_sha256) != (after.samples, after.ids_sha256):
        raise _different("samples", f"{before.samples}", f"{after.samples}, or others")
    for threat, attacks in before.attacks.items():
        if attacks != after.attacks[threat]:
            raise _different(
                f"attacks under {threat}", _listed(attacks), _listed(after.attacks[threat])
            )


def _paired(threat: str, before: Side, after: Side, rows: Sequence[Row]) -> ComparisonRecord:
    pairs = list(zip(rows, before.robust[threat], after.robust[threat], strict=True))
    lost = [row for row, then, now in pairs if then and not now]
    gained = [row for row, then, now in pairs if now and not then]
    p = mcnemar(len(lost), len(gained))
    members = Counter(label for _, label in rows)
    down, up = (Counter(label for _, label in some) for some in (lost, gained))
    return ComparisonRecord(
        threat=threat,
        baseline=before.name,
        current=after.name,
        samples=len(rows),
        baseline_accuracy=sum(before.robust[threat]) / len(rows),
        current_accuracy=sum(after.robust[threat]) / len(rows),
        lost=len(lost),
        gained=len(gained),
        p=p,
        significant_drop=p < SIGNIFICANT,
        by_class=tuple(
            (label, members[label], down[label], up[label])
            for label in sorted(members, key=lambda one: (up[one] - down[one], one))
        ),
        regressions=tuple(id_ for id_, _ in lost),
    )


def _listed(attacks: dict[str, int]) -> str:
    return ", ".join(f"{name} (version {version})" for name, version in attacks.items()) or "none"


def _different(what: str, before: str, after: str) -> UserError:
    return UserError(
        f"the same {what} on both sides",
        f"{before} before and {after} after",
        "audit both with the same flags and the same version of robustkit",
    )
