"""Make the sample report that the README shows.

Usage: python scripts/make_sample_report.py

Audits the embedded adversarial digits model at four budgets in linf and one in l2, and writes
reports/sample-report.html; where Chromium is installed, also its first screen as
reports/sample-report.png.
"""

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import robustkit as rk

REPORTS = Path(__file__).resolve().parents[1] / "reports"
THREATS = ["linf:0.1", "linf:0.02", "linf:0.05", "linf:0.15", "l2:0.5"]
CHROMIUM = (
    "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


def main() -> None:
    """Audit, copy the page, and take its picture."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # A report names the folder it was written to: a relative one says nothing of this machine.
        run = Path(folder) / "run"
        with contextlib.chdir(folder):
            log = rk.audit(
                "zoo:digits-adversarial", "zoo:digits", THREATS, suite="quick", out="run"
            )
        shutil.copy(run / "report.html", REPORTS / "sample-report.html")
        print(f"robust accuracy {log.threats[0].robust_accuracy:.1%} at {THREATS[0]}")
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        if chromium is None:
            sys.exit("Chromium is not installed: the page is written, its picture is not")
        subprocess.run(
            [
                chromium, *CHROMIUM, f"--user-data-dir={folder}/profile", "--window-size=1200,1500",
                f"--screenshot={REPORTS / 'sample-report.png'}",
                (REPORTS / "sample-report.html").as_uri(),
            ],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip


if __name__ == "__main__":
    main()
