"""Libraries that only some models and data sets need: imported on use."""

import importlib
from typing import Any

from robustkit.errors import ToolError


def need(package: str, *, why: str) -> Any:
    """The module `package`; ToolError with the command that installs it where it is missing.

    >>> need("math", why="roots").sqrt(4.0)
    2.0
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        top = package.partition(".")[0]
        raise ToolError(
            f"the package {top}, which {why} needs",
            f"none that can be imported ({error})",
            f"run: pip install {top}",
        ) from None
