"""Write `constraints.txt`: the exact versions of everything installed in this environment.

Usage: .venv/bin/python scripts/pin.py

Run it after the tests have passed with new versions. Only `name==version` lines come out: no
addresses, no packages installed from a folder.
"""

import argparse
import json
import re
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# What a fresh environment brings along by itself; pinning it would only get in the way.
INSTALLERS = {"pip", "uv"}


def is_local(distribution: Distribution) -> bool:
    """Whether it was installed from a folder, a file or a repository instead of an index."""
    origin = distribution.read_text("direct_url.json")
    return origin is not None and "url" in json.loads(origin)


def pins(installed: Iterable[Distribution]) -> list[str]:
    """Sorted `name==version` lines, without local packages and local version labels.

    A label such as the `+cpu` of a torch wheel names a build, not a version: it would refuse every
    other build of the same release.
    """
    lines = set()
    for distribution in installed:
        name = re.sub(r"[-_.]+", "-", distribution.name).lower()
        if name not in INSTALLERS and not is_local(distribution):
            lines.add(f"{name}=={distribution.version.split('+')[0]}")
    return sorted(lines)


def main() -> None:
    """Write the file next to `pyproject.toml`."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    (ROOT / "constraints.txt").write_text("\n".join(pins(distributions())) + "\n")


if __name__ == "__main__":
    main()
