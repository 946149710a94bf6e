"""A threat model in words; what is written in a record is all that is known of it here."""

import math
import re
from fractions import Fraction
from typing import NamedTuple

from robustkit.report.text import plain


class Threat(NamedTuple):
    """A norm's name and its budget; `eps` is nan where the text does not say."""

    norm: str
    eps: float


def read(text: str) -> Threat:
    """Read `linf:8/255`; never raises, since a report must show what is there.

    >>> read("l2:0.5"), read("patch")
    (Threat(norm='l2', eps=0.5), Threat(norm='patch', eps=nan))
    """
    norm, _, budget = text.strip().partition(":")
    try:
        eps = float(Fraction(budget.replace(" ", "")))
    except (ValueError, ZeroDivisionError, OverflowError):
        eps = math.nan
    return Threat(norm, eps)


def title(text: str) -> str:
    """The threat as a short name: `linf 8/255`.

    >>> title("linf:8/255")
    'linf 8/255'
    """
    return plain(text.replace(":", " ", 1))


def words(text: str) -> str:
    """What the attacker may do, in a sentence for somebody who has never heard of norms.

    >>> words("l0:10")
    'The attacker may change at most 10 pixels of a picture, each as much as he likes.'
    """
    norm, eps = read(text)
    if norm == "patch":
        return _patch_words(text, eps)
    if norm in TRANSFORMED:
        return _transform_words(norm, text)
    if eps != eps:  # noqa: PLR0124 - only nan differs from itself
        return f"The attacker is bounded by {plain(text)}."
    if norm == "linf":
        return (
            f"The attacker may change every pixel, but none by more than {_levels(eps)} "
            f"({eps:.3g} of the range from black to white)."
        )
    if norm == "l2":
        return (
            f"The attacker may spread a change of Euclidean length {eps:g} over the picture "
            "(a black pixel made white has length 1)."
        )
    if norm == "l1":
        return (
            f"The attacker may change pixels by {eps:g} in total "
            "(a black pixel made white counts 1)."
        )
    if norm == "l0":
        return (
            f"The attacker may change at most {eps:g} pixels of a picture, "
            "each as much as he likes."
        )
    return f"The attacker is bounded by {plain(text)}."


def _patch_words(text: str, eps: float) -> str:
    """A patch by its share of the area, or by its sides in pixels."""
    match = re.fullmatch(r"\s*patch:(\d+)x(\d+)\s*", text)
    if not match and not eps > 0:
        return f"The attacker is bounded by {plain(text)}."
    size = f"{match[1]} x {match[2]} pixels" if match else f"{100 * eps:.3g} % of the area"
    return (
        f"The attacker may put one patch of {size} anywhere on a picture "
        "and paint it as he likes; nothing changes outside of it."
    )


TRANSFORMED = {
    "spatial": "The attacker may rotate a picture by up to {0} degrees either way and shift it "
    "by up to {1} pixels in each direction.",
    "flow": "The attacker may bend a picture smoothly: every pixel may come from up to {0} pixels "
    "away.",
    "corruption": "No attacker: noise, blur, weather and compression, at severity {0} of 5.",
}
"""Threats that are no balls, in words; braces stand for the numbers behind the colon."""


def _transform_words(norm: str, text: str) -> str:
    """A threat that is no ball by its numbers."""
    numbers = re.findall(r"[\d.]+(?:/[\d.]+)?", text.partition(":")[2])
    form = TRANSFORMED[norm]
    if len(numbers) != form.count("{"):
        return f"The attacker is bounded by {plain(text)}."
    return form.format(*numbers)


def _levels(eps: float) -> str:
    levels = eps * 255
    if levels >= 255:
        return "all 255 levels of brightness"
    shown = f"{levels:.0f}" if abs(levels - round(levels)) < 1e-6 else f"{levels:.1f}"
    return f"{shown} of 255 levels of brightness"
