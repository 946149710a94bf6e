"""The hooks of the plugin: what a conftest.py, or another plugin, may add to it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from robustkit.testing.settings import Settings


def pytest_robustkit_settings(config: pytest.Config) -> Mapping[str, object] | None:
    """Return settings by name, as the marker takes them; flags, markers and the ini file win."""


@pytest.hookspec(firstresult=True)
def pytest_robustkit_load_model(config: pytest.Config, settings: "Settings") -> object | None:
    """Return the model to audit, a Classifier or a torch module; None for the usual way."""


def pytest_robustkit_thresholds(config: pytest.Config) -> Mapping[str, float] | None:
    """Return gates to collect besides those of --robust-at-least: threat -> fraction."""


def pytest_robustkit_update_record(config: pytest.Config, record: dict[str, Any]) -> None:
    """Change a gate's record, or add plain values to it, before reports are made from it."""
