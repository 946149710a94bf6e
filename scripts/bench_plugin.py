"""Print what the pytest plugin costs a run of pytest that does not use it, in milliseconds.

Usage: python scripts/bench_plugin.py [--rounds 20]

Runs with and without the plugin take turns, so that what else the machine does hits both alike; the
medians are compared.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def cost(folder: Path, *flags: str) -> tuple[float, float]:
    """Milliseconds on the clock, and of processor time, of one run on a test that does nothing."""
    # Other plugins of this environment take time as well, and take it differently each run.
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *flags]
    clock, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    return 1000 * (time.perf_counter() - clock), 1000 * processor


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="runs of each kind")
    rounds = parser.parse_args().rounds
    kinds = {"without": (), "with": ("-p", "robustkit.pytest_plugin")}
    costs: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_nothing.py").write_text("def test_nothing():\n    pass\n")
        for _ in range(rounds + 1):
            for kind, flags in kinds.items():
                costs[kind].append(cost(folder, *flags))
    for column, what in enumerate(("on the clock", "of processor time")):
        # The first round writes the byte code.
        without, with_ = (statistics.median(c[column] for c in costs[k][1:]) for k in kinds)
        print(
            f"{what}: {without:.0f} ms, with the plugin {with_:.0f} ms: {with_ - without:+.0f} ms"
        )


if __name__ == "__main__":
    main()
