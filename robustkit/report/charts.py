"""The charts of the page: what a number looks like beside its uncertainty.

All are drawn 360 units wide, so that their words stay readable on a telephone.
"""

from collections.abc import Callable, Sequence

from markupsafe import Markup

from robustkit.records import ThreatRecord
from robustkit.report.numbers import hint, percent, span
from robustkit.report.svg import dot, drawing, label, line, path, rect
from robustkit.report.text import plain, shorten
from robustkit.report.threats import read, title

WIDTH = 360
CLASSES_DRAWN = 14
CONFUSED_DRAWN = 12
SHADES = 6
"""Classes `heat1` to `heat6` of the style sheet."""
BINS = 20

Scale = Callable[[float], float]


def overview(records: Sequence[ThreatRecord]) -> Markup:
    """Clean and robust accuracy of every threat on one scale, with the interval."""
    left, right, row = 12, WIDTH - 12, 46
    height = 34 + row * len(records)

    def at(fraction: float) -> float:
        """Where a value lies in the drawing."""
        return left + fraction * (right - left)

    parts = [_scale(at, 20, height - 14)]
    for number, record in enumerate(records):
        y = 42 + row * number
        parts.append(label((left, y - 8), shorten(title(record.threat), 44), "strong"))
        if record.trusted:
            parts.append(_dumbbell(at, y, record.clean_accuracy, record.robust_accuracy))
            parts.append(_whisker(at, y, record.interval))
        else:
            parts += [
                line((left, y), (at(record.clean_accuracy), y), "void"),
                dot((at(record.clean_accuracy), y), 4, "clean"),
                label((left, y + 15), "untrusted: no number is given", "bad"),
            ]
    return drawing(WIDTH, height, _overview_words(records), *parts)


def _overview_words(records: Sequence[ThreatRecord]) -> str:
    said = (
        f"{title(one.threat)}: clean {percent(one.clean_accuracy)}, "
        + (
            f"robust {percent(one.robust_accuracy)}, 95 % interval {span(one.interval)}"
            if one.trusted
            else "robust accuracy untrusted"
        )
        for one in records
    )
    return "Accuracy without and under attack. " + "; ".join(said)


def meter(fraction: float, kind: str) -> Markup:
    """A bar of a table; the number stands beside it."""
    parts = [rect((0, 0), (100, 10), "track"), rect((0, 0), (100 * fraction, 10), kind)]
    return Markup(
        '<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">{}</svg>'
    ).format(Markup("").join(parts))


def by_class(record: ThreatRecord) -> Markup:
    """Clean and robust accuracy of the weakest classes, worst first, with intervals."""
    worst = sorted(record.classes, key=lambda one: (one.robust / max(one.samples, 1), one.label))
    shown = worst[:CLASSES_DRAWN]
    left, right, row = 96, WIDTH - 12, 23
    height = 30 + row * len(shown)

    def at(fraction: float) -> float:
        """Where a value lies in the drawing."""
        return left + fraction * (right - left)

    parts = [_scale(at, 14, height - 8)]
    for number, one in enumerate(shown):
        y = 32 + row * number
        n = max(one.samples, 1)
        parts += [
            label((left - 8, y + 4), shorten(one.name, 14), "", "end"),
            _dumbbell(at, y, one.clean / n, one.robust / n),
            _whisker(at, y, one.interval),
        ]
    weakest = shown[0]
    words = (
        f"Accuracy by class under {title(record.threat)}, worst first; "
        f"{weakest.name} is the weakest with {percent(weakest.robust / max(weakest.samples, 1))}"
    )
    return drawing(WIDTH, height, words, *parts)


def confusion(record: ThreatRecord, names: Sequence[str]) -> Markup:
    """What the attacked pictures are taken for: a row a true class, a column an answer.

    Empty where there are too many classes for a picture; the page has a table as well.
    """
    size = len(names)
    if not 2 <= size <= CONFUSED_DRAWN or not record.confusion:
        return Markup("")
    left, top = 84, 26
    cell = (WIDTH - left - 8) / size
    most = max(count for _, _, count in record.confusion)
    parts = [label((left + cell * size / 2, 10), "taken for", "small", "middle")]
    for k, name in enumerate(names):
        parts += [
            label((left - 6, top + cell * (k + 0.5) + 4), shorten(name, 12), "", "end"),
            label(
                (left + cell * (k + 0.5), top - 5),
                plain(name)[: max(1, int(cell / 6))],
                "small",
                "middle",
            ),
            rect((left + cell * k + 1, top + cell * k + 1), (cell - 2, cell - 2), "diagonal"),
        ]
    for label_, other, count in record.confusion:
        if 0 <= label_ < size and 0 <= other < size:
            parts += _cell((left, top), cell, (other, label_), (count, most))
    a, b, count = max(record.confusion, key=lambda one: one[2])
    words = f"Confusion under {title(record.threat)}; most often, {count} times, "
    words += f"{_name(names, a)} is taken for {_name(names, b)}"
    return drawing(WIDTH, round(top + cell * size + 6), words, *parts)


def _cell(
    origin: tuple[float, float], cell: float, place: tuple[int, int], counts: tuple[int, int]
) -> list[Markup]:
    count, most = counts
    shade = min(SHADES, 1 + int(SHADES * count / (most + 1)))
    x, y = origin[0] + cell * place[0], origin[1] + cell * place[1]
    return [
        rect((x + 1, y + 1), (cell - 2, cell - 2), f"heat{shade}"),
        label((x + cell / 2, y + cell / 2 + 4), count, f"on-heat{shade}", "middle"),
    ]


def security_curve(records: Sequence[ThreatRecord]) -> Markup:
    """Robust accuracy over eps for trusted threats of one norm, from the clean one at eps 0."""
    known = sorted(records, key=lambda one: read(one.threat).eps)
    left, right, top, bottom = 44.0, WIDTH - 16.0, 14.0, 186.0
    largest = read(known[-1].threat).eps
    clean = known[0].clean_accuracy
    points = [(0.0, clean, (clean, clean))]
    points += [(read(r.threat).eps, r.robust_accuracy, r.interval) for r in known]

    def at(eps: float, fraction: float) -> tuple[float, float]:
        """Where a value lies in the drawing."""
        return left + eps / largest * (right - left), bottom - fraction * (bottom - top)

    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts += [
            line(at(0, tick), at(largest, tick), "grid"),
            label((left - 6, at(0, tick)[1] + 4), f"{100 * tick:g} %", "small", "end"),
        ]
    band = [at(eps, high) for eps, _, (_, high) in points]
    band += [at(eps, low) for eps, _, (low, _) in reversed(points)]
    parts += [
        path(band, "band", closed=True),
        path([at(eps, accuracy) for eps, accuracy, _ in points], "curve"),
    ]
    names = ["0", *(title(one.threat).split(" ", 1)[-1] for one in known)]
    for (eps, accuracy, _), name in zip(points, names, strict=True):
        x, y = at(eps, accuracy)
        parts += [
            dot((x, y), 4, "robust" if eps else "clean"),
            label((x, bottom + 16), name, "small", "middle"),
        ]
    norm = read(known[0].threat).norm
    parts.append(label((right, bottom + 32), f"budget in {norm}", "small", "end"))
    said = ", ".join(f"{percent(accuracy)} at {hint(eps)}" for eps, accuracy, _ in points)
    return drawing(WIDTH, 224, f"Robust accuracy over the budget in {norm}: {said}", *parts)


def histogram(sizes: Sequence[float], threat: str) -> Markup:
    """How large the smallest perturbation found was, over the samples that were fooled."""
    left, right, top, bottom = 34.0, WIDTH - 16.0, 14.0, 146.0
    largest = max(*sizes, read(threat).eps)
    counts = [0] * BINS
    for size in sizes:
        counts[min(BINS - 1, int(BINS * size / largest))] += 1
    step, most = (right - left) / BINS, max(counts)
    parts = [
        line((left, bottom), (right, bottom), "axis"),
        label((left - 5, top + 8), most, "small", "end"),
        label((left - 5, bottom + 3), 0, "small", "end"),
    ]
    for k, count in enumerate(counts):
        height = count / most * (bottom - top)
        parts.append(rect((left + k * step + 1, bottom - height), (step - 2, height), "fooled"))
    for share in (0.0, 0.5, 1.0):
        x = left + share * (right - left)
        anchor = "end" if share == 1 else "middle"
        parts.append(label((x, bottom + 15), hint(share * largest), "small", anchor))
    parts.append(label((right, bottom + 30), "size of the perturbation", "small", "end"))
    middle = sorted(sizes)[len(sizes) // 2]
    words = f"Sizes of {len(sizes)} successful perturbations under {title(threat)}"
    return drawing(WIDTH, 182, f"{words}; half are below {hint(middle)}", *parts)


def _scale(at: Scale, top: float, bottom: float) -> Markup:
    """Grid lines at quarters, named above."""
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        anchor = "start" if tick == 0 else "end" if tick == 1 else "middle"
        parts += [
            line((at(tick), top), (at(tick), bottom), "grid"),
            label((at(tick), top - 5), f"{100 * tick:g} %", "small", anchor),
        ]
    return Markup("").join(parts)


def _dumbbell(at: Scale, y: float, clean: float, robust: float) -> Markup:
    """From what is right without an attack to what is left of it."""
    parts = [
        line((at(robust), y), (at(clean), y), "lost"),
        dot((at(clean), y), 4, "clean"),
        dot((at(robust), y), 5, "robust"),
    ]
    return Markup("").join(parts)


def _whisker(at: Scale, y: float, interval: tuple[float, float]) -> Markup:
    low, high = (at(end) for end in interval)
    parts = [line((low, y), (high, y), "whisker")]
    parts += [line((x, y - 4), (x, y + 4), "whisker") for x in (low, high)]
    return Markup("").join(parts)


def _name(names: Sequence[str], label_: int) -> str:
    return names[label_] if 0 <= label_ < len(names) else str(label_)
