"""The page in a real browser: no request, no complaint, nothing wider than the screen."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from robustkit.report.run_directory import write_run
from tests.report.build_log import build_log, hostile_log

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTHS = (360, 1200)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # The browser itself has errands; it is not to reach anybody.
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--disable-dev-shm-usage",
    "--allow-file-access-from-files",
    "--enable-logging=stderr",
)
# A page around the page measures it, since the page itself allows no script. An element that is
# too wide counts unless it lies in something that scrolls by itself.
MEASURE = """<!doctype html><body>%s<pre id="out"></pre><script>
const wide = (frame) => {
  const page = frame.contentDocument, limit = page.documentElement.clientWidth;
  return [...page.querySelectorAll("body *")].filter((one) => !one.closest(".scroll, .skip, svg")
    && one.getBoundingClientRect().right > limit + 1).map((one) => one.tagName + one.className);
};
const small = (frame) => {
  const page = frame.contentDocument;
  return Math.min(...[...page.querySelectorAll("svg text")].map(
    (one) => one.getBoundingClientRect().height));
};
const styled = (frame) => getComputedStyle(
  frame.contentDocument.querySelector(".untested"), null).borderTopLeftRadius;
addEventListener("load", () => {
  const said = [...document.querySelectorAll("iframe")].map((frame) => ({
    wide: wide(frame), small: small(frame), styled: styled(frame),
    pictures: [...frame.contentDocument.images].map((one) => one.naturalWidth)}));
  document.getElementById("out").textContent = JSON.stringify(said);
});
</script>"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    return found


def visit(browser: str, folder: Path, body: str) -> tuple[str, list[str], list[str]]:
    """Open a page; returns its DOM, what the console says, and what was asked of a network."""
    (folder / "around.html").write_text(body, encoding="utf-8")
    log = folder / "net.json"
    done = subprocess.run(
        [
            browser,
            *FLAGS,
            f"--user-data-dir={folder / 'profile'}",
            f"--log-net-log={log}",
            "--dump-dom",
            (folder / "around.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, console, asked(log)


def asked(log: Path) -> list[str]:
    """What pages asked of a network; what the browser asks for itself has no page behind it."""
    events = json.loads(log.read_text(encoding="utf-8"))["events"]
    asking = [event["params"] for event in events if "initiator" in event.get("params", ())]
    return [
        one["url"]
        for one in asking
        if one["initiator"] != "not an origin" and not one["url"].startswith(("file:", "data:"))
    ]


def frames(folder: Path) -> str:
    page = (folder / "report.html").as_uri()
    return MEASURE % "".join(
        f'<iframe src="{page}" width="{width}" height="900" style="border:0"></iframe>'
        for width in WIDTHS
    )


@pytest.mark.slow
@pytest.mark.parametrize("make", [build_log, hostile_log])
def test_the_page_fits_every_screen_and_asks_for_nothing(browser, make, tmp_path):
    write_run(make(folder=tmp_path), tmp_path)
    dom, console, urls = visit(browser, tmp_path, frames(tmp_path))
    assert console == []
    assert urls == []
    said = json.loads(html.unescape(re.findall('<pre id="out">(.*?)</pre>', dom, re.DOTALL)[0]))
    assert len(said) == len(WIDTHS)
    for one in said:
        assert one["wide"] == []
        assert one["styled"] == "10px"
        assert all(one["pictures"])
        assert one["small"] >= 9


@pytest.mark.slow
def test_a_request_and_a_blocked_style_would_have_been_seen(browser, tmp_path):
    body = (
        "<meta http-equiv=Content-Security-Policy content=\"style-src 'none'\">"
        "<style>p{}</style><img src='http://127.0.0.1:9/x.png'>"
    )
    _, console, urls = visit(browser, tmp_path, body)
    assert any("Content Security Policy" in line for line in console)
    assert urls == ["http://127.0.0.1:9/x.png"]
