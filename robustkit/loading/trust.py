"""What a person allows a file to do, form by form and for one run; nothing is allowed by default.

Each permission is named for its risk, holds for exactly one kind of file, implies no other, and is
written into the notes of the model and so into the report.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from robustkit.errors import RefusedError, UserError
from robustkit.loading.factory import find_object
from robustkit.loading.scan import check_pickles
from robustkit.loading.sniff import PICKLES, Form

Risk = Literal["classes", "pickle", "torchscript", "pt2"]

FLAGS: dict[Risk, str] = {
    "classes": "--trust-class",
    "pickle": "--allow-unsafe-pickle",
    "torchscript": "--allow-torchscript",
    "pt2": "--allow-pt2",
}


@dataclass(frozen=True)
class Trust:
    """The permissions of one run.

    `classes` are `pkg.mod:Class` that a pickle may make objects of; `unsafe_pickle` lets it call
    anything; `torchscript` and `pt2` let the programs in such archives be read and run;
    `onnx_external` lets an ONNX file take weights from files beside it.
    """

    classes: tuple[str, ...] = ()
    unsafe_pickle: bool = False
    torchscript: bool = False
    pt2: bool = False
    onnx_external: bool = False

    def needed(self, path: Path, form: Form) -> Risk | None:
        """The permission under which the file may be read, or None where it needs none.

        Raises RefusedError where the file needs one that was not given.
        """
        if form == "torchscript" and self.torchscript:
            return "torchscript"
        if form == "torch.export" and self.pt2:
            return "pt2"
        if form not in PICKLES or not (self.classes or self.unsafe_pickle):
            return None
        if _passes(path, form, frozenset()):
            return None
        named = frozenset(map(full_name, self.objects()))
        if self.unsafe_pickle:
            return "classes" if _passes(path, form, named) else "pickle"
        check_pickles(path, form, trusted=named)
        return "classes"

    def objects(self) -> list[type]:
        """The trusted classes, imported; raises UserError where one is no class."""
        found: list[type] = []
        for name in self.classes:
            value: Any = find_object(name)
            if not isinstance(value, type):
                raise UserError(
                    "a class after --trust-class",
                    f"{name!r}, a {type(value).__name__}",
                    "write it as pkg.mod:Class",
                )
            found.append(value)
        return found


NOTHING = Trust()
"""No permission at all."""


def full_name(kind: type) -> str:
    """The name under which a pickle asks for a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


def _passes(path: Path, form: Form, names: frozenset[str]) -> bool:
    try:
        check_pickles(path, form, trusted=names)
    except RefusedError:
        return False
    return True
