"""The page: self-contained, without script, with words for every picture, unharmed by names."""

import base64
import hashlib
import re
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from robustkit.records import AuditLog
from robustkit.report import render
from robustkit.report.numbers import percent
from tests.report.build_log import build_log, hostile_log, untrusted

VOID = {"meta", "img", "br", "line", "rect", "circle", "polygon", "polyline"}
LOADS = {"src", "srcset", "poster", "data", "action", "background", "xlink:href", "style"}


class Page(HTMLParser):
    """Every element with its attributes, its text, and the elements that it lies in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.inside == []

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), (tag, attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.inside.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.inside.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.inside[-1] if self.inside else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, *, of: str = "") -> str:
        return " ".join(data for tag, data in self.texts if of in ("", tag))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def log(folder) -> AuditLog:
    return build_log(folder=folder)


@pytest.fixture(scope="module")
def page(log, folder) -> Page:
    return Page(render(log, "html", folder))


@pytest.fixture(scope="module")
def hostile(folder) -> Page:
    return Page(render(hostile_log(folder), "html", folder))


def test_nothing_is_loaded_from_anywhere(page, hostile):
    for one in (page, hostile):
        tags = {tag for tag, _ in one.elements}
        assert not tags & {"script", "link", "iframe", "object", "embed", "form", "base", "image"}
        for tag, attributes in one.elements:
            for name, value in attributes.items():
                assert not name.startswith("on"), (tag, name)
                if name in LOADS:
                    assert value.startswith("data:image/png;base64,"), (tag, name)
                if name == "href":
                    assert value.startswith("#"), (tag, value)


def test_the_policy_allows_the_one_style_sheet_only(log, folder):
    text = render(log, "html", folder)
    (style,) = re.findall("<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = re.findall('http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert f"style-src 'sha256-{digest}';" in policy
    assert "unsafe" not in policy
    assert text.index("Content-Security-Policy") < text.index("<style>")
    assert "url(" not in style
    assert "@import" not in style


def test_every_picture_has_words(page):
    assert len(page.all("img")) >= 7
    assert all(len(one["alt"]) > 20 for one in page.all("img"))
    drawings = page.all("svg")
    assert len(drawings) > 10
    for one in drawings:
        assert one.get("aria-hidden") == "true" or (one["role"] == "img" and one["aria-label"])
    spoken = sum("aria-hidden" not in one for one in drawings)
    assert len(page.all("title")) == spoken + 1


def test_everything_can_be_reached_by_keyboard(page):
    targets = [one["href"].removeprefix("#") for one in page.all("a")]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert max(Counter(ids).values()) == 1
    assert set(targets) <= set(ids)
    assert targets[0] == "verdict"
    scrolling = [one for one in page.all("div") if one.get("class") == "scroll"]
    assert scrolling
    assert all(one["tabindex"] == "0" and one["aria-label"] for one in scrolling)
    assert not any(attributes.get("tabindex", "0") != "0" for _, attributes in page.elements)


def test_headings_go_down_one_step_at_a_time(page):
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_the_first_screen_has_what_matters_most(log, page):
    first = page.text().split("What the attacks did")[0].replace("\N{NO-BREAK SPACE}", " ")
    assert percent(log.robust_accuracy) in first
    assert "95 % interval" in first
    assert "n = 500" in first
    assert "trusted" in first
    assert "51 of 255 levels" in first
    assert "Not tested" in first
    assert "upper bound" in first


def test_all_that_is_promised_is_there(log, page):
    text = page.text().replace("\N{NO-BREAK SPACE}", " ")
    for one in log.threats:
        for attack in one.attacks:
            assert attack.name in text
    for one in log.findings:
        assert one.message in text
        assert one.fix in text
    for one in log.gates:
        assert one.reason in text
    for word in (
        "Robust accuracy over the budget",
        "taken for",
        "the weakest first",
        log.model.sha256,
    ):
        assert word in page.text() + " ".join(
            one.get("aria-label") or "" for one in page.all("svg")
        )
    assert "AML.T0043.000" in text


def test_traces_are_drawn_and_what_is_not_finite_interrupts_them(page, hostile):
    words = "loss of pgd, step by step, for 5 samples of which 3 were fooled"
    for one in (page, hostile):
        drawn = [line for line in one.all("polyline") if line["class"].startswith("trace")]
        if one is page:
            assert words in [svg.get("aria-label") for svg in one.all("svg")]
            assert len(drawn) == 10
            assert sum("hit" in line["class"] for line in drawn) == 6
        assert not any("nan" in line["points"] for line in drawn)


def test_an_untrusted_page_has_neither_number_nor_curve(log, folder):
    page = Page(render(untrusted(log), "html", folder))
    assert page.text(of="h1").startswith("UNTRUSTED")
    assert not any(
        "Robust accuracy over" in (one.get("aria-label") or "") for one in page.all("svg")
    )
    assert "untrusted" in [one.get("class") for one in page.all("body")]


def test_hostile_names_are_text(hostile):
    assert "<script>alert(1)</script>" in hostile.text()
    assert not set(hostile.text()) & set("\x00\x07\x1b\r\u202e")
    assert "{{7*7}}" in hostile.text()


def test_the_same_log_gives_the_same_page(log, folder):
    assert render(log, "html", folder) == render(log, "html", folder)


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/hostname", "a\x00b", "", "folder", "fake.png"]
)
def test_only_pictures_of_the_run_directory_are_shown(tmp_path, name):
    (tmp_path / "secret.png").write_bytes(b"\x89PNG\r\n\x1a\nsecret")
    run = tmp_path / "run"
    log = build_log(("linf:0.1",), n=60, folder=run)
    (run / "folder").mkdir()
    (run / "fake.png").write_bytes(b"<svg onload=alert(1)>")
    one = log.examples[0].model_copy(update={"picture": name})
    page = Page(render(log.model_copy(update={"examples": (one,)}), "html", run))
    assert page.all("img") == []
    assert "not in the run directory" in page.text()


def test_a_link_out_of_the_run_directory_is_not_followed(tmp_path):
    run = tmp_path / "run"
    log = build_log(("linf:0.1",), n=60, folder=run)
    (tmp_path / "secret.png").write_bytes(b"\x89PNG\r\n\x1a\nsecret")
    (run / "link.png").symlink_to(tmp_path / "secret.png")
    one = log.examples[0].model_copy(update={"picture": "link.png"})
    assert Page(render(log.model_copy(update={"examples": (one,)}), "html", run)).all("img") == []


def test_the_page_stays_small_whatever_the_pictures_weigh(tmp_path):
    log = build_log(("linf:0.1",), folder=tmp_path)
    for one in log.examples:
        path = tmp_path / one.picture
        path.write_bytes(path.read_bytes() + bytes(1_000_000))
    page = render(log, "html", tmp_path)
    assert len(page) < 5_000_000
    assert 1 <= len(Page(page).all("img")) < len(log.examples) + 1


def test_a_thousand_classes_are_still_a_page():
    classes = tuple(f"class {k} of many" for k in range(1000))
    text = render(build_log(("linf:0.1",), n=3000, classes=classes), "html")
    assert len(text) < 1_000_000
    Page(text)


def test_the_least_log_is_still_a_page():
    log = build_log(("linf:0.1",), n=1).model_copy(
        update={"findings": (), "gates": (), "examples": (), "samples": (), "environment": {}}
    )
    threat = log.threats[0].model_copy(update={"attacks": (), "classes": (), "confusion": ()})
    for threats in ((threat,), (threat.model_copy(update={"samples": 0}),), ()):
        Page(render(log.model_copy(update={"threats": threats}), "html"))
