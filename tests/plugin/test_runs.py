"""The plugin in runs of pytest, each in a process of its own; the audits lie in the cache."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

pytest_plugins = "pytester"

HEAVY = ("torch", "pydantic", "numpy", "scipy", "rich", "click", "jinja2", "filelock")
HELP = Path(__file__).with_name("help.txt")
TEST = """
import pytest

@pytest.mark.robust(threat="linf:0.1")
def test_linf(robust_audit):
    robust_audit.assert_robust(at_least={at_least})
"""

Plant = Callable[..., Path]


def run(pytester: Any, *flags: str) -> Any:
    """A run without the other plugins that happen to be installed, which are slow to import."""
    others = ("-p", "no:hypothesispytest", "-p", "no:jaxtyping")
    return pytester.runpytest_subprocess(*others, *flags)


def test_unrelated_run_imports_nothing_heavy(pytester: Any) -> None:
    pytester.makepyfile(
        f"""
        import sys

        def test_nothing():
            assert "robustkit.pytest_plugin" in sys.modules
            heavy = {{name.partition(".")[0] for name in sys.modules}}
            assert not heavy & {set(HEAVY)!r}
            assert "robustkit.testing.audits" not in sys.modules
        """
    )
    result = run(pytester)
    result.assert_outcomes(passed=1)
    assert "robustkit:" not in result.stdout.str()


def test_audit_from_the_cache_passes_without_torch(pytester: Any, plant: Plant) -> None:
    plant(150)
    pytester.makepyfile(TEST.format(at_least=0.7))
    pytester.makeconftest(
        "import sys\ndef pytest_sessionfinish():\n    assert 'torch' not in sys.modules\n"
    )
    result = run(pytester, "--junitxml=j.xml", "--robust-fail-untrusted")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "robustkit: model model.bin",
            "*robustkit: 1 gate, 0 audits run, 1 reused*",
            "gate * n * clean * robust *asked * verdict",
            "*::test_linf linf:0.1 *200 *100 % *75.0 % *68.4 to 80.8 %* >= 70.0 % *PASS",
        ]
    )
    case = ET.parse(pytester.path / "j.xml").getroot().find(".//testcase")
    assert case is not None
    found = {one.get("name"): one.get("value") for one in case.findall(".//property")}
    assert found["linf:0.1.robust_accuracy"] == "0.75"
    assert found["linf:0.1.samples"] == "200"
    assert str(found["linf:0.1.robust"]).startswith("PASS: measured 75.0 % on 200 samples")


def test_breach_is_one_message_and_no_traceback(
    pytester: Any, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without code as well; in the job's summary, for -k, for --lf, and with pytest-html."""
    folder = plant(60)
    pytester.makepyfile(TEST.format(at_least=0.5))
    html = pytester.mkpydir("pytest_html")
    (html / "extras.py").write_text(
        "def url(content, name): return {'url': content, 'name': name}\n"
        "def png(content, name): return {'png': content, 'name': name}\n"
    )
    pytester.makeconftest(
        """
        import sys
        import pytest_html

        def pytest_configure(config):
            config.pluginmanager.register(pytest_html, "html")

        def pytest_runtest_logreport(report):
            for extra in getattr(report, "extras", []):
                print("EXTRA", extra)
        """
    )
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "summary.md"))
    monkeypatch.setenv("COLUMNS", "160")
    result = run(pytester, "-s", "--robust-at-least=linf:0.1=0.45")
    result.assert_outcomes(failed=2)
    text = result.stdout.str()
    assert "Traceback" not in text
    assert "robustkit/testing" not in text
    assert "All traceback entries" not in text
    result.stdout.fnmatch_lines(
        [
            "linf:0.1: measured 30.0 % on 200 samples, so at most 35.8 % (95 %); 50.0 % was asked",
            "  model     net on gate.npz",
            "  robust    30.0 % (95 % interval 23.7 to 36.9 %, n = 200, linf:0.1)",
            "  weakest   class digit 0 30.0 % *",
            f"  report    *{folder.name}/report.html",
            "  picture   *worst.png (digit 0 taken for digit 1, 80.0 % sure)",
            "robustkit::robust[[]linf:0.1>=0.45] *FAIL",
            "FAILED *::test_linf - Failed: linf:0.1: measured*",
        ]
    )
    assert "EXTRA {'url': " in text
    assert "EXTRA {'png': 'YSBwaWN0dXJl', 'name': 'worst.png'}" in text
    summary = (pytester.path / "summary.md").read_text()
    assert summary.count("| FAIL |") == 2
    assert "50.0 % was asked" in summary
    again = run(pytester, "-k", "linf", "-m", "robust", "--robust-at-least=linf:0.1=30%")
    again.assert_outcomes(failed=1, passed=1)


def test_undecided_warns_or_fails(pytester: Any, plant: Plant) -> None:
    plant(98)
    pytester.makepyfile(TEST.format(at_least=0.5))
    result = run(pytester)
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*test_undecided*.py:*: UndecidedWarning: *", "*UNDECIDED"])
    result = run(pytester, "--robust-undecided=fail")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["linf:0.1: undecided, measured 49.0 % *", "*UNDECIDED"])


def test_baseline_is_written_accepted_and_kept(pytester: Any, plant: Plant) -> None:
    folder = plant(150)
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.robust(threat="linf:0.1")
        def test_linf(robust_audit):
            robust_audit.assert_no_regression("baselines/linf.json", max_drop=0.01)
        """
    )
    written = pytester.path / "baselines" / "linf.json"
    result = run(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*expected a baseline *linf.json, got no such file"])
    assert not written.exists()
    result = run(pytester, "--robust-update-baselines")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["baseline *linf.json written: linf:0.1 none -> 75.0 %"])
    assert json.loads(written.read_text())["samples"] == 200
    written.unlink()
    run(pytester, "--robust-update-baselines", "--robust-accept").assert_outcomes(passed=1)
    run(pytester, "--robust-baseline=baselines/linf.json").assert_outcomes(passed=2)
    plant(120)
    result = run(pytester, "--robust-baseline=baselines/linf.json")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["linf:0.1: 75.0 % then, 60.0 % now: 30 lost, 0 gained of 200*"])
    assert folder.is_dir()


def test_workers_send_their_gates_home(
    pytester: Any, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(150)
    for name in ("a", "b", "c"):
        pytester.makepyfile(**{f"test_{name}": TEST.format(at_least=0.9 if name == "c" else 0.7)})
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "summary.md"))
    flags = ("-n2", "--dist=loadgroup", "--junitxml=j.xml", "--robust-at-least=linf:0.1=0.5")
    result = run(pytester, *flags)
    result.assert_outcomes(passed=3, failed=1)
    text = result.stdout.str()
    assert "robustkit: 4 gates, 0 audits run, 1 reused" in text
    assert len(re.findall(r"(?m)^\S.* (?:PASS|FAIL)$", text)) == 4
    assert (pytester.path / "summary.md").read_text().count("### ") == 1
    assert (pytester.path / "j.xml").read_text().count("linf:0.1.robust_accuracy") == 4


def test_hooks(pytester: Any, plant: Plant) -> None:
    plant(150)
    pytester.makeconftest(
        """
        def pytest_robustkit_thresholds():
            return {"linf:0.1": 0.6}

        def pytest_robustkit_update_record(record):
            record["commit"] = "abc"

        def pytest_robustkit_load_model(settings):
            print("LOAD", settings.threat)
        """
    )
    result = run(pytester, "-s", "-v", "--junitxml=j.xml")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*robustkit::robust[[]linf:0.1>=0.6]*LOAD ('linf:0.1',)*"])
    assert 'name="linf:0.1.commit" value="abc"' in (pytester.path / "j.xml").read_text()


def test_slips_are_said_before_anything_is_loaded(pytester: Any) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.robust(treat="linf:0.1")
        def test_misspelt(robust_audit): ...

        @pytest.mark.robust(threat="linf:0.1")
        def test_no_model(robust_audit): ...
        """
    )
    result = run(pytester, "--strict-markers")
    result.assert_outcomes(errors=2)
    text = result.stdout.str()
    assert "did you mean threat?" in text
    assert "expected a model to audit, got none" in text
    assert "Traceback" not in text
    assert "plugin.py:" not in text
    result = run(pytester, "--robust-at-least=linf:0.1=45")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: expected a fraction in [[]0, 1], got '45'"])


def test_plugin_can_be_left_out(pytester: Any) -> None:
    pytester.makepyfile("def test_nothing(): ...")
    result = run(pytester, "-p", "no:robustkit")
    result.assert_outcomes(passed=1)
    assert "--robust-" not in run(pytester, "-p", "no:robustkit", "--help").stdout.str()


def test_help_is_as_pinned(pytester: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """To pin it anew: copy what this test prints."""
    monkeypatch.setenv("COLUMNS", "100")
    lines = run(pytester, "--help").stdout.lines
    start = next(k for k, line in enumerate(lines) if line.startswith("adversarial robustness"))
    end = next(k for k in range(start, len(lines)) if not lines[k])
    ini = [k for k, line in enumerate(lines) if line.startswith("  robust_")]
    rows = [line for k in ini for line in _entry(lines, k)]
    text = "\n".join([*lines[start:end], "", *rows]) + "\n"
    print(text)
    assert text == HELP.read_text()


def _entry(lines: list[str], start: int) -> list[str]:
    """An ini value's line and those that continue it."""
    more = start + 1
    while more < len(lines) and lines[more].startswith("   "):
        more += 1
    return lines[start:more]


def test_marker_is_explained(pytester: Any) -> None:
    result = run(pytester, "--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.robust(threat, suite, samples, *"])
