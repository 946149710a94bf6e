"""The group: help without imports, errors in words, signals."""

import json
import os
import subprocess
import sys

import click
import pytest

from robustkit import cli as group
from robustkit.cli import VERBS, Terminated, cli
from robustkit.errors import PlanErrors, RefusedError, ToolError, UserError
from robustkit.options import OPTIONS
from robustkit.verbs.verb import DEBUG, Verb, verb

HEAVY = ("torch", "torchvision", "numpy", "scipy", "sklearn", "matplotlib", "pydantic", "rich")


def imported_by(*words: str) -> tuple[set[str], str]:
    """The heavy packages that a real process has imported when it leaves, and what it printed."""
    code = (
        "import sys, json, atexit\n"
        f"atexit.register(lambda: sys.stderr.write(json.dumps([m for m in {HEAVY!r}"
        " if m in sys.modules])))\n"
        "from robustkit.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stderr)), done.stdout


def test_help_of_the_group_imports_nothing_heavy() -> None:
    heavy, text = imported_by("--help")
    assert heavy == set()
    for name, (_, short) in VERBS.items():
        assert name in text
        assert short in text


def test_the_package_runs_as_a_module() -> None:
    words = [sys.executable, "-m", "robustkit", "explain", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "Usage: robustkit explain" in done.stdout


def test_help_of_an_audit_imports_nothing_heavy() -> None:
    heavy, text = imported_by("audit", "--help")
    assert heavy == set()
    assert "--at-least" in text


@pytest.mark.parametrize("name", VERBS)
def test_help_of_every_verb_shows_an_example_to_copy(run, name: str) -> None:
    text = run(name, "--help").output
    example = text.partition("Example:\n")[2]
    assert f"robustkit {name}" in example


@pytest.mark.parametrize("name", VERBS)
def test_importing_a_verb_does_not_import_torch(name: str) -> None:
    code = f"import sys, {VERBS[name][0]}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_examples_only_use_flags_that_there_are() -> None:
    for name in VERBS:
        context = click.Context(cli)
        command = cli.get_command(context, name)
        assert isinstance(command, Verb)
        known = {flag for one in command.params for flag in one.opts}
        used = {word for word in command.example.split() if word.startswith("--")}
        assert used <= known


def test_a_verb_that_there_is_not(run) -> None:
    result = run("audti", code=2)
    assert "audti" in result.stderr


def test_a_flag_that_there_is_not(run) -> None:
    result = run("audit", "--sampels", "3", code=2)
    assert "--samples" in result.stderr


def test_the_version(run) -> None:
    assert "0.1.0" in run("--version").output


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Make the verb `demo` raise what the test wants."""

    def install(error: BaseException) -> None:
        @verb("demo", example="robustkit demo")
        def command() -> None:
            raise error

        monkeypatch.setattr(cli, "get_command", lambda ctx, name: command)

    return install


@pytest.mark.parametrize(("kind", "code"), [(UserError, 2), (ToolError, 3), (RefusedError, 4)])
def test_an_error_is_told_in_three_parts(run, failing, kind, code: int) -> None:
    failing(kind("a cat", "a dog", "get a cat"))
    result = run("demo", code=code)
    assert "expected a cat" in result.stderr
    assert "got a dog" in result.stderr
    assert "fix: get a cat" in result.stderr
    assert result.stdout == ""


def test_all_errors_of_a_plan_are_told(run, failing) -> None:
    failing(PlanErrors([UserError("one", "two", "three"), UserError("four", "five", "six")]))
    result = run("demo", code=2)
    assert "expected one" in result.stderr
    assert "expected four" in result.stderr


def test_control_characters_never_reach_the_terminal(run, failing) -> None:
    failing(UserError("a name", "a\x1b]0;evil\x07\u202eb\r\nerror: forged", "another"))
    result = run("demo", code=2)
    assert not set(result.stderr) & {"\x1b", "\x07", "\u202e", "\r"}
    assert "\nerror: forged" not in result.stderr


def test_an_unexpected_error_is_one_line(run, failing) -> None:
    failing(ValueError("first\nsecond"))
    result = run("demo", code=3)
    assert result.stderr.count("\n") == 1
    assert "ValueError: first second" in result.stderr


@pytest.mark.parametrize("words", [("--debug", "demo"), ("demo", "--debug")])
def test_debug_shows_where(folder, failing, words: tuple[str, ...]) -> None:
    from click.testing import CliRunner

    failing(ValueError("boom"))
    result = CliRunner().invoke(cli, list(words))
    assert result.exit_code == 3
    assert "Traceback" in result.stderr


def test_debug_by_the_environment(folder, failing, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    failing(ValueError("boom"))
    monkeypatch.setenv("ROBUSTKIT_DEBUG", "1")
    assert "Traceback" in CliRunner().invoke(cli, ["demo"]).stderr


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt(), 130), (Terminated(), 143)])
def test_an_interruption_says_how_to_go_on(run, failing, stop, code: int) -> None:
    stop.add_note("go on with: robustkit audit --resume")
    failing(stop)
    assert "robustkit audit --resume" in run("demo", code=code).stderr


def test_sigterm_ends_a_verb_and_leaves_the_handler_as_it_was(run, monkeypatch) -> None:
    import signal

    before = signal.getsignal(signal.SIGTERM)

    @verb("demo", example="robustkit demo")
    def command() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(cli, "get_command", lambda ctx, name: command)
    run("demo", code=143)
    assert signal.getsignal(signal.SIGTERM) is before


def test_every_option_can_be_mounted_on_pytest() -> None:
    ini_types = {"string", "int", "float", "bool", "linelist"}
    assert {one.ini_type for one in OPTIONS.values()} <= ini_types
    assert len({one.dest for one in OPTIONS.values()}) == len(OPTIONS)
    assert group.EXIT_CODES.count("\n") == 5
    assert DEBUG
