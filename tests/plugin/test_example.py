"""Real audits: the sample project with both its models, workers that share one, and `init`."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = "pytester"
pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "scripts" / "examples" / "ci"
WITHOUT_TORCH = "import sys\ndef pytest_sessionfinish():\n    assert 'torch' not in sys.modules\n"


@pytest.fixture
def example(pytester: Any) -> Path:
    """A copy of the sample project, in the current folder."""
    kept = shutil.ignore_patterns(".*", "__pycache__")
    shutil.copytree(EXAMPLE, pytester.path, dirs_exist_ok=True, ignore=kept)
    return Path(pytester.path)


def test_example_passes_then_costs_nothing_and_fails_unhardened(
    example: Path, pytester: Any
) -> None:
    first = pytester.runpytest_subprocess("-n2", "--robust-at-least=linf:0.1=0.6")
    first.assert_outcomes(passed=2)
    # Two workers, one model: one of them audits, the other one waits and reads.
    first.stdout.fnmatch_lines(["*robustkit: 5 gates, 1 audit run, 0 reused*"])
    (example / "tests" / "conftest.py").write_text(WITHOUT_TORCH)
    again = pytester.runpytest_subprocess()
    again.assert_outcomes(passed=1)
    again.stdout.fnmatch_lines(["*robustkit: 4 gates, 0 audits run, 1 reused*"])
    (example / "tests" / "conftest.py").unlink()
    result = pytester.runpytest_subprocess("--robust-model=unhardened.safetensors")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "linf:0.1: measured 3?.? % on 300 samples, so at most * %); 60.0 % was asked",
            "  model     unhardened on gate.npz",
            "  robust    3?.? % (95 % interval * to * %, n = 300, linf:0.1)",
            "  weakest   class * (* to * %, n = *)",
            "  report    .pytest_cache/d/robustkit/*/report.html",
            "  picture   .pytest_cache/d/robustkit/*.png (* taken for *, * % sure)",
        ]
    )
    text = result.stdout.str()
    assert "Traceback" not in text
    # On CI pytest repeats the whole message in its summary.
    (page,) = {line.split()[1] for line in text.splitlines() if line.startswith("  report ")}
    assert (example / page).is_file()
    shot = next(line.split()[1] for line in text.splitlines() if line.startswith("  picture "))
    assert (example / shot).is_file()


def test_fixture_gives_the_model_and_a_budget_is_no_trap(pytester: Any) -> None:
    pytester.makepyfile(
        """
        import pytest
        import robustkit as rk
        from robustkit import zoo

        @pytest.fixture(scope="session")
        def robust_target():
            return rk.load("zoo:digits-adversarial")

        @pytest.fixture(scope="session")
        def robust_samples():
            return zoo.load_samples("digits").take(120)

        @pytest.mark.robust(threat="linf:0.1", attack="pgd:steps=3", budget="0.001s")
        def test_late(robust_audit):
            assert robust_audit.log.status == "partial"
            assert robust_audit.log.threats[0].samples == 0

        @pytest.mark.robust(threat="linf:0.1", attack="pgd:steps=3", budget="10m")
        def test_in_time(robust_audit):
            assert robust_audit.log.model.name == "zoo:digits-adversarial"
            robust_audit.assert_robust(at_least=0.5)

        class TestModule:
            @pytest.fixture
            def robust_target(self):
                return zoo.load_model("digits-adversarial").module

            @pytest.mark.robust(threat="linf:0.1", attack="pgd:steps=3", preprocess="none")
            def test_module_in_time(self, robust_audit):
                assert robust_audit.log.model.name == "Sequential"
                robust_audit.assert_robust(at_least=0.5)
        """
    )
    pytester.runpytest_subprocess("-k", "late").assert_outcomes(passed=1, deselected=2)
    result = pytester.runpytest_subprocess("-k", "in_time")
    result.assert_outcomes(passed=2, deselected=1)
    result.stdout.fnmatch_lines(["*robustkit: 2 gates, 2 audits run, 0 reused*", "*120 *PASS"])


def test_init_writes_what_passes_and_keeps_what_is_there(example: Path, pytester: Any) -> None:
    for path in ("tests", "conftest.py", "pytest.ini"):
        target = example / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    (example / ".gitlab-ci.yml").write_text("mine")
    (example / "requirements.txt").touch()
    command = [
        "init", "hardened.safetensors", "--arch", "nets.py:make", "--data", "gate.npz",
        "--threat", "linf:0.1", "--preprocess", "none", "--samples", "200",
    ]  # fmt: skip
    assert "would write tests/robustness/conftest.py" in robustkit(pytester, *command, "--dry-run")
    assert not (example / "tests").exists()
    assert "kept        .gitlab-ci.yml" in robustkit(pytester, *command)
    assert (example / ".gitlab-ci.yml").read_text() == "mine"
    workflow = (example / ".github" / "workflows" / "robustness.yml").read_text()
    assert "pip install -r requirements.txt pytest robustkit-audit" in workflow
    assert "key: robustkit-${{ github.sha }}" in workflow
    written = example / "tests" / "robustness" / "test_robustness.py"
    assert "assert_robust(at_least=0.6" in written.read_text()
    result = pytester.runpytest_subprocess("tests/robustness", "--strict-markers")
    result.assert_outcomes(passed=1)
    written.write_text("mine as well")
    said = robustkit(pytester, *command)
    assert "kept        tests/robustness/test_robustness.py" in said
    assert written.read_text() == "mine as well"


def robustkit(pytester: Any, *words: str) -> str:
    """What the command line says, in a process of its own: pytester forgets imported modules."""
    program = "import robustkit.cli; robustkit.cli.main()"
    result = pytester.run(sys.executable, "-c", program, *words)
    assert result.ret == 0, result.stderr.str()
    return str(result.stdout.str())
