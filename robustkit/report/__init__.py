"""The faces of an audit log: records in, text out. Neither torch nor the harness is needed."""

import importlib
from pathlib import Path
from typing import Literal, get_args

from robustkit.errors import UserError
from robustkit.records import AuditLog

Format = Literal["html", "markdown", "junit", "sarif", "cyclonedx", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)

_MODULES = {
    "html": "html",
    "markdown": "markdown",
    "junit": "junit",
    "sarif": "sarif",
    "cyclonedx": "cyclonedx",
    "json": "run_directory",
}


def render(log: AuditLog, format: str, folder: Path | None = None) -> str:  # noqa: A002
    """The log as text in one of `FORMATS`.

    `folder` is the run directory, where the pictures of the HTML page lie and to which SARIF
    points. Raises UserError for a format that is not known.
    """
    if format not in _MODULES:
        raise UserError(f"one of {', '.join(FORMATS)}", repr(format), "choose one of these formats")
    module = importlib.import_module(f"robustkit.report.{_MODULES[format]}")
    text: str = getattr(module, f"render_{format}")(log, folder)
    return text
