"""Where the peers are, if they are here."""

import importlib
import os
import sys
import warnings

import pytest

PACKAGES = {"foolbox": "foolbox", "art": "art", "torchattacks": "torchattacks"}


def need_folder() -> None:
    """Look for libraries in the folder that ROBUSTKIT_PEERS names too, if it does."""
    folder = os.environ.get("ROBUSTKIT_PEERS")
    if folder and folder not in sys.path:
        sys.path.append(folder)


def need_peer(name: str) -> None:
    """Skip where the library is not installed."""
    need_folder()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            importlib.import_module(PACKAGES[name])
        except ImportError:
            pytest.skip(f"{name} is not installed: run ./scripts/peers")
