"""What a patch needs, in a sentence for terminals and Markdown."""

from collections.abc import Callable, Sequence

from robustkit.records import AuditLog, PatchRecord, PatchShare
from robustkit.report.numbers import percent

PLACES = (
    "the top left", "the top", "the top right", "the left edge", "the middle", "the right edge",
    "the bottom left", "the bottom", "the bottom right",
)  # fmt: skip


def class_names(log: AuditLog) -> dict[int, str]:
    """The name of every class that the log has one for."""
    named = dict(enumerate(log.model.classes))
    for record in log.threats:
        named |= {one.label: one.name for one in record.classes}
    return named


def namer(log: AuditLog) -> Callable[[int], str]:
    """A function from a label to the name of its class, or its number."""
    names = class_names(log)
    return lambda label: names.get(label, str(label))


def placed(patch: PatchRecord) -> tuple[PatchShare, ...]:
    """The places by their names in words."""
    if len(patch.places) != len(PLACES):
        return patch.places
    named = zip(patch.places, PLACES, strict=True)
    return tuple(one.model_copy(update={"name": name}) for one, name in named)


def patch_words(patch: PatchRecord, name: Callable[[int], str]) -> str:
    """Success by size, at the weakest and strongest place, and for the easiest target.

    `name` gives a class its name.
    """
    sizes = ", ".join(f"{one.name} {_rate(one)}" for one in patch.sizes)
    parts = [f"Patches by size in pixels, n = {patch.samples}: {sizes}."]
    if patch.places:
        most, fewest = _ends(placed(patch))
        parts.append(
            f"Most succeed in {most.name} ({_rate(most)}), fewest in {fewest.name} "
            f"({_rate(fewest)})."
        )
    if patch.targets:
        easy, hard = _ends(patch.targets)
        parts.append(
            f"Aimed at a class: {name(int(easy.name))} is reached most often ({_rate(easy)}), "
            f"{name(int(hard.name))} least ({_rate(hard)})."
        )
    return " ".join(parts)


def _rate(share: PatchShare) -> str:
    return percent(share.fooled / max(share.samples, 1))


def _ends(shares: Sequence[PatchShare]) -> tuple[PatchShare, PatchShare]:
    """The one with the most success and the one with the least; the first of equals."""
    rates = [share.fooled / max(share.samples, 1) for share in shares]
    return shares[rates.index(max(rates))], shares[rates.index(min(rates))]
