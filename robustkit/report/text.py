"""Text from elsewhere (class, model and file names) made harmless for a terminal and for XML."""

import unicodedata

# Control characters, invisible formats such as the reversal of writing direction, lone surrogates.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs"})


def plain(text: object) -> str:
    r"""The text as one line that does nothing to whatever shows it.

    >>> plain("cat\x1b[2J\nand dog")
    'cat [2J and dog'
    """
    cleaned = "".join(
        " " if unicodedata.category(letter) in _UNPRINTABLE else letter for letter in str(text)
    )
    return " ".join(cleaned.split())


def xml_text(text: object) -> str:
    r"""The text without the characters that XML 1.0 has no way to write; markup is left alone.

    >>> xml_text("a\x00b\ufffe<c>")
    'ab<c>'
    """
    return "".join(letter for letter in str(text) if _is_xml(ord(letter)))


def shorten(text: object, width: int) -> str:
    """The plain text in at most `width` characters.

    >>> shorten("a very long name", 9)
    'a very...'
    """
    line = plain(text)
    return line if len(line) <= width else line[: width - 3].rstrip() + "..."


def _is_xml(code: int) -> bool:
    return (
        code in (0x9, 0xA, 0xD)
        or 0x20 <= code <= 0xD7FF
        or 0xE000 <= code <= 0xFFFD
        or 0x10000 <= code <= 0x10FFFF
    )
