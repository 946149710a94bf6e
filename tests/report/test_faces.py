"""Markdown, JUnit, SARIF, CycloneDX and the terminal: well-formed, complete, unharmed by names."""

import io
import json
import re
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from robustkit.records import ClaimRecord, ComparisonRecord
from robustkit.report import render
from robustkit.report.numbers import percent
from robustkit.report.standards import BLACK_BOX, WHITE_BOX, covered, references
from robustkit.report.terminal import render_terminal
from tests.report.build_log import build_log, hostile_log, untrusted

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


@pytest.fixture(scope="module")
def log():
    made = build_log(("linf:0.1", "l2:1"))
    claim = ClaimRecord(
        threat="linf:0.1", claimed=0.7, robust_accuracy=0.5, interval=(0.46, 0.54), samples=500,
        verdict="CONTRADICTED", reason="too good",
    )  # fmt: skip
    drop = ComparisonRecord(
        threat="l2:1", baseline="before", current="after", samples=500, baseline_accuracy=0.5,
        current_accuracy=0.4, lost=60, gained=10, p=1e-9, significant_drop=True,
    )  # fmt: skip
    undecided = made.gates[0].model_copy(update={"verdict": "UNDECIDED"})
    return made.model_copy(
        update={"claims": (claim,), "comparisons": (drop,), "gates": (*made.gates, undecided)}
    )


def terminal(log, width: int = 100) -> str:
    stream = io.StringIO()
    render_terminal(log, Console(file=stream, width=width))
    return stream.getvalue()


# JUnit -------------------------------------------------------------------------------------------


def check_junit(text: str) -> ET.Element:
    """What the JUnit schema of CI servers asks for."""
    root = ET.fromstring(text)
    assert root.tag == "testsuites"
    assert set(root.attrib) <= {"name", "tests", "failures", "errors", "time"}
    names = [suite.get("name") for suite in root]
    assert len(set(names)) == len(names)
    for suite in root:
        assert suite.tag == "testsuite"
        assert set(suite.attrib) <= {
            "name", "tests", "failures", "errors", "skipped", "time", "timestamp",
        }  # fmt: skip
        assert ISO.fullmatch(suite.get("timestamp"))
        tags = [child.tag for child in suite]
        assert tags == ["properties"] * (tags[0] == "properties") + ["testcase"] * (
            len(tags) - (tags[0] == "properties")
        )
        cases = suite.findall("testcase")
        assert int(suite.get("tests")) == len(cases)
        for kind, total in (("failure", "failures"), ("error", "errors")):
            assert int(suite.get(total)) == len(suite.findall(f"testcase/{kind}"))
        for case in cases:
            assert set(case.attrib) == {"name", "classname", "time"}
            assert float(case.get("time")) >= 0
            assert [child.tag for child in case] in ([], ["failure"], ["error"])
            assert all(set(child.attrib) == {"type", "message"} for child in case)
    for total in ("tests", "failures", "errors"):
        assert int(root.get(total)) == sum(int(suite.get(total)) for suite in root)
    return root


def test_junit_tells_failures_from_errors(log):
    root = check_junit(render(log, "junit"))
    gates = root.find("testsuite[@name='robustkit.gates']")
    verdicts = [[child.tag for child in case] for case in gates.findall("testcase")]
    kinds = {"PASS": [], "FAIL": ["failure"], "UNDECIDED": ["error"]}
    assert verdicts == [kinds[gate.verdict] for gate in log.gates]
    assert root.find("testsuite[@name='robustkit.claims']/testcase/failure") is not None
    assert root.find("testsuite[@name='robustkit.baseline']/testcase/failure") is not None
    numbers = {one.get("name"): one.get("value") for one in root.iter("property")}
    assert float(numbers["l2:1.robust_accuracy"]) == log.threats[1].robust_accuracy
    assert numbers["l2:1.samples"] == "500"


def test_junit_has_an_error_for_an_untrusted_and_for_an_unfinished_run(log):
    for other in (untrusted(log), log.model_copy(update={"status": "partial"})):
        root = check_junit(render(other, "junit"))
        assert root.find("testsuite[@name='robustkit.audit']").get("errors") == "1"


# SARIF -------------------------------------------------------------------------------------------


def check_sarif(text: str) -> dict:
    """What SARIF 2.1.0 requires, and what code scanning asks beyond it."""
    sarif = json.loads(text)
    assert sarif["version"] == "2.1.0"
    assert "sarif-2.1.0" in sarif["$schema"]
    (run,) = sarif["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"]
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(set(ids)) == len(ids)
    for rule in driver["rules"]:
        assert rule["defaultConfiguration"]["level"] in ("none", "note", "warning", "error")
        assert 0 <= float(rule["properties"]["security-severity"]) <= 10
        assert all(rule[part]["text"] for part in ("shortDescription", "fullDescription", "help"))
    for result in run["results"]:
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["message"]["text"]
        (location,) = result["locations"]
        uri = location["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+", uri)
        assert location["physicalLocation"]["region"]["startLine"] >= 1
        (fingerprint,) = result["partialFingerprints"].values()
        assert re.fullmatch("[0-9a-f]{64}", fingerprint)
    fingerprints = [tuple(one["partialFingerprints"].values()) for one in run["results"]]
    assert len(set(fingerprints)) == len(fingerprints)
    return run


def test_sarif_speaks_of_artifacts_only(log):
    run = check_sarif(render(log, "sarif"))
    assert [one["ruleId"] for one in run["results"]] == ["RK-SATURATED"]
    bad = check_sarif(render(untrusted(log), "sarif"))
    assert bad["results"][0]["level"] == "error"


def test_sarif_points_at_the_checkpoint_where_there_is_one(log, tmp_path):
    path = tmp_path / "my model#1.safetensors"
    path.touch()
    model = log.model.model_copy(update={"source": str(path)})
    run = check_sarif(render(log.model_copy(update={"model": model}), "sarif", tmp_path))
    uri = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == path.as_uri()
    run = check_sarif(render(log, "sarif", tmp_path))
    uri = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == (tmp_path / "audit.json").as_uri()


def test_a_fingerprint_is_the_same_from_run_to_run(log):
    first, second = (
        check_sarif(render(one, "sarif"))["results"][0]["partialFingerprints"]
        for one in (log, log.model_copy(update={"seconds": 99.0, "created": ""}))
    )
    assert first == second


# CycloneDX ---------------------------------------------------------------------------------------


def check_cyclonedx(text: str) -> dict:
    """What CycloneDX 1.6 requires of the parts that are used; returns the model's component."""
    bom = json.loads(text)
    assert (bom["bomFormat"], bom["specVersion"], bom["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bom["serialNumber"])
    refs = [component["bom-ref"] for component in bom["components"]]
    assert len(set(refs)) == len(refs)
    model, data = bom["components"]
    assert (model["type"], data["type"]) == ("machine-learning-model", "data")
    for one in bom["components"]:
        assert one["name"]
        assert all(re.fullmatch("[0-9a-f]{64}", part["content"]) for part in one.get("hashes", []))
    card = model["modelCard"]
    assert [one["ref"] for one in card["modelParameters"]["datasets"]] == [data["bom-ref"]]
    for metric in card["quantitativeAnalysis"]["performanceMetrics"]:
        assert set(metric) <= {"type", "value", "slice", "confidenceInterval"}
        assert all(isinstance(metric[key], str) for key in ("type", "value", "slice"))
        interval = metric.get("confidenceInterval", {"lowerBound": "0", "upperBound": "1"})
        assert float(interval["lowerBound"]) <= float(metric["value"])
        assert float(metric["value"]) <= float(interval["upperBound"])
    assert all(isinstance(one, str) for one in card["considerations"]["technicalLimitations"])
    return model


def test_cyclonedx_has_the_numbers_with_their_intervals(log):
    model = check_cyclonedx(render(log, "cyclonedx"))
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    robust = [one for one in metrics if one["type"] == "robust_accuracy"]
    assert [float(one["value"]) for one in robust] == [t.robust_accuracy for t in log.threats]
    assert robust[0]["slice"] == "linf:0.1, suite=standard, n=500, seed=0"
    assert render(log, "cyclonedx") == render(log, "cyclonedx")


# All faces ---------------------------------------------------------------------------------------


def test_markdown_shows_the_cascade_and_the_judgements(log):
    text = render(log, "markdown")
    assert text.startswith("## Of 500 pictures")
    assert "| `apgd-ce` |" in text
    assert text.count("**CONTRADICTED**") == text.count("**DROP**") == 1
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5, 8}


def test_the_terminal_shows_verdict_cascade_and_judgements(log):
    text = terminal(log)
    assert "apgd-ce" in text
    assert "trusted: Every success was re-verified" in text
    assert "CONTRADICTED claim" in text
    assert "DROP against before" in text
    assert max(len(line) for line in text.splitlines()) <= 100


def test_attacks_with_nothing_left_to_meet_are_counted_on_a_terminal():
    log = build_log(("linf:0.1",))
    (record,) = log.threats
    idle = [
        record.attacks[0].model_copy(update={"name": f"idle-{number}", "attempted": 0})
        for number in range(3)
    ]
    update = {"threats": (record.model_copy(update={"attacks": (*record.attacks, *idle)}),)}
    text = terminal(log.model_copy(update=update))
    assert "and 3 that met nothing" in " ".join(text.split())
    assert "idle" not in text
    assert "met nothing" not in terminal(log)


@pytest.mark.parametrize("face", ["html", "markdown", "junit", "cyclonedx", "terminal"])
def test_an_untrusted_number_is_on_no_face(face):
    trusted = build_log(("linf:0.1",)).model_copy(update={"gates": ()})
    number = {percent(trusted.robust_accuracy), f"{trusted.robust_accuracy:.6g}"}

    def show(one) -> str:
        text = terminal(one) if face == "terminal" else render(one, face)
        return text.replace("\N{NO-BREAK SPACE}", " ")

    assert any(one in show(trusted) for one in number)
    assert not any(one in show(untrusted(trusted)) for one in number)
    assert "UNTRUSTED" in show(untrusted(trusted))


@pytest.mark.parametrize("width", [30, 60, 120])
def test_hostile_names_do_nothing_to_a_terminal(width):
    text = terminal(hostile_log(), width)
    assert not set(text) & set("\x00\x07\x1b\r\u202e")
    assert "[red]" in text
    assert not any(line.startswith("::error::") for line in text.splitlines() if width > 100)
    # Markup of rich in a name is printed, not obeyed.
    log = build_log(("linf:0.1",), n=20)
    named = log.model.model_copy(update={"name": "[red]net[/red]"})
    threat = log.threats[0].model_copy(update={"threat": "[blink]x"})
    shown = terminal(log.model_copy(update={"model": named, "threats": (threat,)}), width)
    assert "[red]net[/red]" in shown
    assert "[blink]x" in shown


def test_hostile_names_break_neither_xml_nor_json():
    check_junit(render(hostile_log(), "junit"))
    check_sarif(render(hostile_log(), "sarif"))
    check_cyclonedx(render(hostile_log(), "cyclonedx"))


def test_hostile_names_are_text_in_markdown():
    log = hostile_log()
    evil = "@octocat [a](javascript:x) <img src=x> ![p](http://e.vil/p) | `c` www.e.vil"
    model = log.model.model_copy(update={"name": evil})
    finding = log.findings[0].model_copy(update={"message": evil})
    text = render(log.model_copy(update={"model": model, "findings": (finding,)}), "markdown")
    outside = re.sub(r"`[^`\n]*`", "", text.replace(r"\`", ""))
    assert "<" not in outside
    assert not re.search(r"@\w", outside)
    assert "://" not in outside
    assert "www.e" not in outside
    assert not re.search(r"(?<!\\)\]\(", outside)
    assert "\n::" not in text


def test_references_follow_from_attacks_and_findings(log):
    titles = {(one.catalogue, one.id) for one in covered(log)}
    for entry in (*WHITE_BOX, *BLACK_BOX):
        assert (entry.catalogue, entry.id) in titles
    white = log.threats[0].attacks[:3]
    threat = log.threats[0].model_copy(update={"attacks": white})
    alone = covered(log.model_copy(update={"threats": (threat,)}))
    assert BLACK_BOX[0] not in alone
    assert all(references(one) for one in log.findings)


@pytest.mark.parametrize("face", ["html", "markdown", "sarif"])
def test_nothing_claims_to_be_compliant(log, face):
    text = render(log, face).lower()
    assert "complian" not in text
    assert "certif" not in text
