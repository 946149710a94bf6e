"""Loss or size of a few samples, step by step: whether an attack climbed, stood still or jumped."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from robustkit.report.numbers import hint
from robustkit.report.svg import drawing, label, line, path

WIDTH, HEIGHT = 360, 176
LEFT, RIGHT, TOP, BOTTOM = 46.0, WIDTH - 14.0, 22.0, 140.0


def traced(lines: Sequence[tuple[Sequence[float], bool]], name: str) -> Markup:
    """One line a sample over the steps, of another class where the sample was fooled.

    Values that are not finite interrupt a line. Empty where there are not two steps to connect.
    """
    values = [value for column, _ in lines for value in column if math.isfinite(value)]
    steps = max((len(column) for column, _ in lines), default=0)
    if steps < 2 or not values:
        return Markup("")
    low, high = min(values), max(values)
    height = (high - low) or 1.0

    def at(step: int, value: float) -> tuple[float, float]:
        """Where a value lies in the drawing."""
        x = LEFT + step / (steps - 1) * (RIGHT - LEFT)
        return x, BOTTOM - (value - low) / height * (BOTTOM - TOP)

    parts = [
        line((LEFT, BOTTOM), (RIGHT, BOTTOM), "axis"),
        label((LEFT, 12), name, "strong"),
        label((LEFT - 5, TOP + 5), hint(float(high)), "small", "end"),
        label((LEFT - 5, BOTTOM + 3), hint(float(low)), "small", "end"),
        label((LEFT, BOTTOM + 15), "0", "small", "middle"),
        label((RIGHT, BOTTOM + 15), steps - 1, "small", "end"),
        label((RIGHT, BOTTOM + 30), "step", "small", "end"),
    ]
    for column, fooled in sorted(lines, key=lambda one: one[1]):
        kind = "trace hit" if fooled else "trace"
        parts += [path([at(*point) for point in run], kind) for run in _runs(column)]
    fooled_count = sum(fooled for _, fooled in lines)
    words = f"{name}, step by step, for {len(lines)} samples of which {fooled_count} were fooled"
    return drawing(WIDTH, HEIGHT, words, *parts)


def _runs(column: Sequence[float]) -> list[list[tuple[int, float]]]:
    """The finite stretches of a column, as (step, value)."""
    runs: list[list[tuple[int, float]]] = [[]]
    for step, value in enumerate(column):
        if math.isfinite(value):
            runs[-1].append((step, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if len(run) > 1]
