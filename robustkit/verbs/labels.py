"""Class names: from a file or from the model, and a class from what a person writes."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from robustkit.errors import UserError
from robustkit.options import Option

TO = Option("to", "The class to reach, by name or number; otherwise any other.", metavar="CLASS")
CLASSES = Option("classes", "Names of the model's classes, one a line.", metavar="FILE")


def read_classes(path: str | None, known: Sequence[str], count: int) -> tuple[str, ...]:
    """The names of a model's `count` classes: one a line of the file, or those it brings along.

    Raises UserError if the file is not there or does not hold one name a class.
    """
    if path is None:
        return tuple(known)
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
        raise UserError(
            "--classes, a text file with one class name a line", f"{path!r}: {reason}", "check it"
        ) from None
    while lines and not lines[-1].strip():
        lines.pop()
    if len(lines) != count:
        raise UserError(
            f"{count} class names, one for each output of the model",
            f"{len(lines)} lines in {path!r}",
            "write one name a line, the first being that of class 0",
        )
    return tuple(line.strip() for line in lines)


def name_of(label: int, classes: Sequence[str]) -> str:
    """The name of a class, or `class 7` where it has none.

    >>> name_of(1, ["cat", "dog"]), name_of(7, [])
    ('dog', 'class 7')
    """
    return classes[label] if 0 <= label < len(classes) else f"class {label}"


def find_class(text: str, classes: Sequence[str], count: int) -> int:
    """The class that a person means: its number, its name, or a part that only it has.

    >>> find_class("PANDA", ["gibbon", "giant panda, panda bear"], 2)
    1

    Raises UserError for a number out of range, and for a name that fits no class or several.
    """
    if text.strip().isdecimal():
        if int(text) < count:
            return int(text)
        raise UserError(f"a class from 0 to {count - 1}", text, "the model has no such output")
    wanted = text.strip().casefold()
    lowered = [name.casefold() for name in classes]
    names = [{part.strip() for part in name.split(",")} | {name} for name in lowered]
    for hits in (
        [label for label, own in enumerate(names) if wanted in own],
        [label for label, name in enumerate(lowered) if wanted and wanted in name],
    ):
        if len(hits) == 1:
            return hits[0]
        if hits:
            shown = ", ".join(f"{label} ({classes[label]})" for label in hits[:5])
            raise UserError(
                "the name of one class",
                f"{text!r}, which fits {len(hits)}: {shown}",
                "write more of the name, or its number",
            )
    near = get_close_matches(wanted, lowered, n=3, cutoff=0.5)
    hint = "write its number, or give the names with --classes FILE"
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    raise UserError("the name or number of a class", repr(text), hint)


def choose_target(text: str | None, label: int, classes: Sequence[str], count: int) -> int | None:
    """The class that `--to` names, None without it; raises UserError for `label` itself."""
    if text is None:
        return None
    target = find_class(text, classes, count)
    if target == label:
        raise UserError(
            "--to, a class that the model does not see already",
            f"{name_of(target, classes)}, which it sees in the unchanged picture",
            "choose another class",
        )
    return target
