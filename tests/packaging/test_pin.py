"""`constraints.txt` gets versions only, whatever is installed and from where."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest


class Installed:
    """As much of a distribution as pinning looks at."""

    def __init__(self, name: str, version: str, url: str | None = None) -> None:
        self.name, self.version, self.url = name, version, url

    def read_text(self, name: str) -> str | None:
        return None if self.url is None else json.dumps({"url": self.url})


@pytest.fixture(scope="module")
def pins(root: Path) -> Any:
    return runpy.run_path(str(root / "scripts" / "pin.py"))["pins"]


def test_lines_are_sorted_and_names_normalised(pins: Any) -> None:
    found = pins([Installed("Jinja2", "3.1"), Installed("a_b.c", "1.0rc1")])
    assert found == ["a-b-c==1.0rc1", "jinja2==3.1"]


@pytest.mark.parametrize("url", ["file:///somewhere", "https://host.example/x.whl"])
def test_what_did_not_come_from_an_index_is_left_out(pins: Any, url: str) -> None:
    assert pins([Installed("local", "1.0", url)]) == []


def test_label_of_a_build_is_left_out(pins: Any) -> None:
    assert pins([Installed("torch", "2.10.0+cpu")]) == ["torch==2.10.0"]


def test_installers_are_left_out(pins: Any) -> None:
    assert pins([Installed("pip", "25.0"), Installed("uv", "0.9")]) == []
