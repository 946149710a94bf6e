"""The report as one page: no script, no request, nothing that is not in the run directory."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from robustkit.records import AuditLog, CurvePoint, Example, ThreatRecord
from robustkit.report import charts, numbers, standards, threats, verdict
from robustkit.report.defense_words import defense_words
from robustkit.report.page import address, fill
from robustkit.report.patch_words import class_names, placed
from robustkit.report.run_directory import finite
from robustkit.report.threat_picture import threat_picture
from robustkit.report.trace_chart import traced

PICTURE_BYTES = 3_000_000
"""What all pictures together may weigh; in the page they weigh a third more."""
LEAD_LETTERS = 400_000
Flip = tuple[Example, str, str]
PNG = b"\x89PNG\r\n\x1a\n"
SIZES_NEEDED = 20
ROWS = 200
"""Rows of a long table; the rest is in the run directory."""


def render_html(log: AuditLog, folder: Path | None = None) -> str:
    """The page; the pictures of the examples are read from `folder`."""
    names = class_names(log)
    filters: dict[str, Callable[..., Any]] = {
        "drop": numbers.drop,
        "title": threats.title,
        "words": threats.words,
        "name": lambda label: names.get(label, str(label)),
    }
    return fill(
        "page.html.j2",
        filters,
        log=log,
        verdict=verdict,
        charts=charts,
        threat_picture=threat_picture,
        standards=standards,
        sections=[_section(log, record, names) for record in log.threats],
        curves=_curves(log.threats),
        gallery=(gallery := _gallery(log.examples, folder)),
        looks=any(looked for _, _, looked in gallery),
        lead=_lead(log, gallery),
        provenance=_provenance(log),
        rows=ROWS,
    )


def _section(log: AuditLog, record: ThreatRecord, names: dict[int, str]) -> dict[str, Any]:
    """What the page shows of one threat."""
    ordered = [names[label] for label in sorted(names)]
    contiguous = sorted(names) == list(range(len(names)))
    show = record.trusted and record.samples > 0
    sizes = [
        sample.size
        for sample in log.samples
        if sample.threat == record.threat and sample.outcome == "fooled"
        and math.isfinite(sample.size) and sample.size > 0
    ]  # fmt: skip
    classes = sorted(record.classes, key=lambda one: (one.robust / max(one.samples, 1), one.label))
    return {
        "record": record,
        "sentence": verdict.sentence(record, log),
        "defense": defense_words(record),
        "classes": classes if show else [],
        "by_class": charts.by_class(record) if show and len(classes) > 1 else "",
        "confusion": charts.confusion(record, ordered) if contiguous else "",
        "patch": record.patch if show else None,
        "places": placed(record.patch) if record.patch else (),
        "traces": _traces(log, record),
        "histogram": charts.histogram(sizes, record.threat) if _spread(sizes) else "",
    }


def _traces(log: AuditLog, record: ThreatRecord) -> list[Markup]:
    """Loss and size step by step, for every attack that left a trace."""
    drawings = []
    mine = [trace for trace in log.traces if trace.threat == record.threat]
    for attack in dict.fromkeys(trace.attack for trace in mine):
        traces = [trace for trace in mine if trace.attack == attack]
        for column in ("loss", "size"):
            lines = [(getattr(trace, column), trace.fooled) for trace in traces]
            drawings.append(traced(lines, f"{column} of {attack}"))
    return [drawing for drawing in drawings if drawing]


def _spread(sizes: Sequence[float]) -> bool:
    """Whether sizes say something: attacks with a fixed budget spend it all."""
    if len(sizes) < SIZES_NEEDED:
        return False
    ordered = sorted(sizes)
    low, high = ordered[len(sizes) // 20], ordered[-1 - len(sizes) // 20]
    return low < 0.95 * high


def _curves(records: Sequence[ThreatRecord]) -> list[Markup]:
    """A security curve for every norm with several budgets, audited or from one run for all."""
    groups: dict[str, dict[float, ThreatRecord]] = {}
    for record in records:
        norm, eps = threats.read(record.threat)
        if record.trusted and record.samples and 0 < eps < math.inf:
            group = groups.setdefault(norm, {})
            group |= {point.eps: _at(record, norm, point) for point in record.curve}
            group[eps] = record
    return [charts.security_curve(list(one.values())) for one in groups.values() if len(one) > 1]


def _at(record: ThreatRecord, norm: str, point: CurvePoint) -> ThreatRecord:
    """The record as it would be at one point of its curve."""
    return record.model_copy(
        update={
            "threat": f"{norm}:{point.eps:.3g}",
            "robust_accuracy": point.robust_accuracy,
            "interval": point.interval,
        }
    )


def _gallery(examples: Sequence[Example], folder: Path | None) -> list[Flip]:
    """Examples with flip and saliency as `data:` addresses, "" where a picture is missing."""
    shown, left = [], PICTURE_BYTES
    for one in examples:
        flip, looked = _picture(folder, one.picture, left), b""
        if flip:
            looked = _picture(folder, one.saliency, left - len(flip))
        left -= len(flip) + len(looked)
        shown.append((one, address(flip), address(looked)))
    return shown


def _lead(log: AuditLog, gallery: list[Flip]) -> Flip | None:
    """The flip of the first screen, under the worst threat if there is one; it is there twice."""
    light = [one for one in gallery if 0 < len(one[1]) + len(one[2]) < LEAD_LETTERS]
    worst = log.worst.threat if log.threats else ""
    return next((one for one in light if one[0].threat == worst), light[0] if light else None)


def _picture(folder: Path | None, name: str, limit: int) -> bytes:
    """A PNG that lies in the run directory and is not too large, else nothing."""
    if folder is None or not name:
        return b""
    try:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()) or path.stat().st_size > limit:
            return b""
        data = path.read_bytes()
    except (OSError, ValueError):
        return b""
    return data if data.startswith(PNG) else b""


def _provenance(log: AuditLog) -> list[tuple[str, str]]:
    """Where the numbers come from, as pairs of a name and a value."""
    rows = [
        ("model", log.model.name),
        ("weights, sha256", log.model.sha256 or "no file"),
        ("loaded from", log.model.source),
        ("preprocessing, inside the model", _json(log.model.preprocess) or "none"),
        *(("note on the model", note) for note in log.model.notes),
        ("data", f"{log.data.name}, {log.data.samples} samples"),
        ("pictures, sha256", log.data.sha256),
        ("shape of a picture", " x ".join(str(side) for side in log.data.shape)),
        ("seed", str(log.seed)),
        ("command", log.command),
        ("robustkit", log.version),
        ("audited", log.created),
        ("took", numbers.duration(log.seconds)),
        *((str(key), numbers.hint(value)) for key, value in log.environment.items()),
        ("plan", _json(log.plan)),
    ]
    return [(key, value) for key, value in rows if value]


def _json(value: dict[str, Any]) -> str:
    return json.dumps(finite(value), ensure_ascii=False, default=str) if value else ""
