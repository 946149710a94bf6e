"""The report as one page."""

from html import escape
from pathlib import Path

from robustkit.records import AuditLog
from robustkit.report.verdict import headline


def render_html(log: AuditLog, folder: Path | None = None) -> str:
    """The page; `folder` holds the pictures."""
    return f"<!doctype html><meta charset=utf-8><title>robustkit</title>{escape(headline(log))}\n"
