"""SVG written by hand: elements as text, every name escaped, every drawing with its words.

Colours come from the page's style sheet by class, so that a drawing follows dark and light; the
drawings carry no style of their own, which the page's security policy would refuse.
"""

from markupsafe import Markup, escape

from robustkit.report.text import plain


def drawing(width: int, height: int, name: str, *parts: Markup) -> Markup:
    """An `svg` element of the given size; `name` is what a reader hears instead of seeing it."""
    spoken = escape(plain(name))
    return Markup(
        '<svg role="img" viewBox="0 0 {} {}" aria-label="{}"><title>{}</title>{}</svg>'
    ).format(width, height, spoken, spoken, Markup("").join(parts))


def line(start: tuple[float, float], end: tuple[float, float], kind: str) -> Markup:
    """A straight line of a class."""
    (x1, y1), (x2, y2) = start, end
    return Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" class="{}"/>').format(
        x1, y1, x2, y2, kind
    )


def rect(corner: tuple[float, float], size: tuple[float, float], kind: str) -> Markup:
    """A rectangle from its upper left corner."""
    return Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" class="{}"/>').format(
        *corner, *size, kind
    )


def dot(centre: tuple[float, float], radius: float, kind: str) -> Markup:
    """A circle."""
    return Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{:.1f}" class="{}"/>').format(
        *centre, radius, kind
    )


def path(points: list[tuple[float, float]], kind: str, *, closed: bool = False) -> Markup:
    """A polygon or polyline through the points."""
    tag = "polygon" if closed else "polyline"
    text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return Markup('<{} points="{}" class="{}"/>').format(tag, text, kind)


def label(at: tuple[float, float], text: object, kind: str = "", anchor: str = "start") -> Markup:
    """A line of text; `anchor` is start, middle or end."""
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>').format(
        *at, anchor, kind, plain(text)
    )
