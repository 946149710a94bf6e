"""A threat model as a picture: the set within reach, and what the budget looks like."""

from markupsafe import Markup

from robustkit.report.svg import dot, drawing, label, line, path, rect
from robustkit.report.text import shorten
from robustkit.report.threats import TRANSFORMED, read, title

WIDTH, HEIGHT = 360, 150
CENTRE, REACH, AXIS = (80.0, 75.0), 34.0, 72.0
WORDS = 164.0
"""Where the right half begins."""


def threat_picture(text: str) -> Markup:
    """What the attacker may reach, drawn for two pixels, and the budget as shades of grey."""
    norm, eps = read(text)
    if norm == "patch":
        return _patch_picture(text, eps)
    if norm in TRANSFORMED:
        return _transformed_picture(text)
    (cx, cy), end = CENTRE, AXIS
    words = f"The attacker's budget {title(text)}: the set of pictures within reach of the original"
    return drawing(
        WIDTH,
        HEIGHT,
        words,
        line((cx - end, cy), (cx + end, cy), "axis"),
        line((cx, cy - end), (cx, cy + end), "axis"),
        _reach(norm),
        dot(CENTRE, 3.5, "ink"),
        label((cx + end, cy - 5), "pixel 1", "small", "end"),
        label((cx + 5, cy - end + 10), "pixel 2", "small"),
        label((WORDS, 22), shorten(title(text), 22), "strong"),
        *_budget(norm, eps),
    )


def _patch_picture(text: str, eps: float) -> Markup:
    """A picture with one patch on it, as large as it is where the budget is a share."""
    (cx, cy), end = CENTRE, AXIS - 6
    side = 2 * end * (min(1.0, eps) ** 0.5 if eps > 0 else 0.25)
    left = cx + end / 3 - side / 2
    corner = (max(cx - end, min(left, cx + end - side)), cy + end - side)
    corners = [(cx + a * end, cy + b * end) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    said = ("Inside one rectangle, wherever it is", "put, every pixel may be anything;",
            "outside of it none changes.")  # fmt: skip
    return drawing(
        WIDTH,
        HEIGHT,
        f"The attacker's budget {title(text)}: one patch of the picture, anywhere",
        *(line(corners[k - 1], corners[k], "axis") for k in range(4)),
        rect(corner, (side, side), "reach"),
        label((WORDS, 22), shorten(title(text), 22), "strong"),
        *(label((WORDS, 48 + 16 * k), text, "small") for k, text in enumerate(said)),
    )


def _transformed_picture(text: str) -> Markup:
    """A picture's frame and the same one turned and shifted; the rest is words."""
    (cx, cy), end = CENTRE, AXIS - 22
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    frame = [(cx + a * end, cy + b * end) for a, b in corners]
    turned = [(cx + 6 + end * (0.94 * a - 0.34 * b), cy + end * (0.34 * a + 0.94 * b))
              for a, b in corners]  # fmt: skip
    said = ("No pixel has a budget: the picture", "as a whole is made anew, within",
            "the limits above.")  # fmt: skip
    return drawing(
        WIDTH,
        HEIGHT,
        f"The attacker's limits {title(text)}: pictures made of the original",
        *(line(frame[k - 1], frame[k], "axis") for k in range(4)),
        path(turned, "reach", closed=True),
        label((WORDS, 22), shorten(title(text), 22), "strong"),
        *(label((WORDS, 48 + 16 * k), one, "small") for k, one in enumerate(said)),
    )


def _reach(norm: str) -> Markup:
    """The ball of a norm: square, circle, diamond, or the axes themselves."""
    (cx, cy), r = CENTRE, REACH
    if norm == "linf":
        corners = [(cx - r, cy - r), (cx + r, cy - r), (cx + r, cy + r), (cx - r, cy + r)]
        return path(corners, "reach", closed=True)
    if norm == "l1":
        corners = [(cx - r, cy), (cx, cy - r), (cx + r, cy), (cx, cy + r)]
        return path(corners, "reach", closed=True)
    if norm == "l0":
        across = line((cx - r, cy), (cx + r, cy), "reach-line")
        return across + line((cx, cy - r), (cx, cy + r), "reach-line")
    return dot(CENTRE, r, "reach")


def _budget(norm: str, eps: float) -> list[Markup]:
    """For linf a grey pixel beside the darkest and the brightest that may be made of it."""
    if norm != "linf" or not eps >= 0:
        said = ("The coloured set holds what the", "attacker may reach, drawn for two",
                "pixels; a picture has thousands.")  # fmt: skip
        return [label((WORDS, 48 + 16 * k), text, "small") for k, text in enumerate(said)]
    parts = [label((WORDS, 44), "what it makes of one grey pixel:", "small")]
    levels = {"darkest": 0.5 - eps, "original": 0.5, "brightest": 0.5 + eps}
    for place, (name, level) in enumerate(levels.items()):
        left, grey = WORDS + 64 * place, round(255 * min(1.0, max(0.0, level)))
        parts += [
            Markup('<rect x="{}" y="56" width="62" height="56" fill="rgb({},{},{})"/>').format(
                left, grey, grey, grey
            ),
            label((left + 31, 127), name, "small", "middle"),
        ]
    return parts
