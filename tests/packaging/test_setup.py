"""`scripts/setup` installs once, again when its inputs change or it was stopped, and says what is
missing; tried with stand-ins for uv and Python that write down how they were called."""

import shutil
import subprocess
from pathlib import Path

import pytest

TOOLS = ["sh", "cat", "cksum", "cp", "dirname", "mkdir", "mv", "rm"]

PYTHON = """#!/bin/sh
# Stands in for a Python with venv and pip. Its version and its failures are set by files.
case "$*" in
--version) echo "Python 3.12.1" ;;
*version_info*) [ ! -e "{state}/old" ] ;;
"-m venv"*) echo "$*" >>"{state}/calls"; mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
"-m pip --version") [ ! -e "{state}/no-pip" ] ;;
"-m pip"*) echo "$*" >>"{state}/calls"; [ ! -e "{state}/offline" ] ;;
esac
"""

UV = """#!/bin/sh
echo "uv $*" >>"{state}/calls"
case "$1" in
venv) mkdir -p .venv/bin; cp "{state}/bin/python3" .venv/bin/python ;;
pip) [ ! -e "{state}/offline" ] ;;
esac
"""


class Machine:
    """A checkout on a machine that has nothing but the tools of a shell."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.state, self.checkout = folder / "state", folder / "a checkout"
        (self.state / "bin").mkdir(parents=True)
        (self.checkout / "scripts").mkdir(parents=True)
        for name in ("pyproject.toml", "constraints.txt", "scripts/setup"):
            shutil.copy(root / name, self.checkout / name)
        for tool in TOOLS:
            (self.state / "bin" / tool).symlink_to(str(shutil.which(tool)))

    def install(self, name: str, text: str) -> None:
        path = self.state / "bin" / name
        path.write_text(text.format(state=self.state))
        path.chmod(0o755)

    def setup(self) -> tuple[int, list[str], str]:
        """Exit code, the calls that were made, and what was said."""
        calls = self.state / "calls"
        calls.unlink(missing_ok=True)
        done = subprocess.run(
            [self.checkout / "scripts" / "setup"],
            env={"PATH": str(self.state / "bin")},
            cwd=self.state,
            capture_output=True,
            text=True,
            check=False,
        )
        made = calls.read_text().splitlines() if calls.exists() else []
        return done.returncode, made, done.stderr


@pytest.fixture(params=["uv", "pip"])
def machine(request: pytest.FixtureRequest, root: Path, tmp_path: Path) -> Machine:
    machine = Machine(root, tmp_path)
    machine.install("python3", PYTHON)
    if request.param == "uv":
        machine.install("uv", UV)
    return machine


def test_first_run_makes_an_environment_and_the_second_does_nothing(machine: Machine) -> None:
    code, calls, _ = machine.setup()
    assert code == 0
    assert len(calls) == 2
    assert "venv" in calls[0]
    assert "--constraint constraints.txt --editable .[dev]" in calls[1]
    assert machine.setup() == (0, [], "")


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed(machine: Machine, name: str) -> None:
    machine.setup()
    with (machine.checkout / name).open("a") as file:
        file.write("# changed\n")
    code, calls, _ = machine.setup()
    assert code == 0
    assert ["--editable" in call for call in calls] == [True]
    assert machine.setup()[1] == []


def test_failed_install_is_taken_up_again(machine: Machine) -> None:
    (machine.state / "offline").touch()
    assert machine.setup()[0] != 0
    (machine.state / "offline").unlink()
    code, calls, _ = machine.setup()
    assert code == 0
    assert any("--editable" in call for call in calls)


def test_half_made_environment_is_made_anew(machine: Machine) -> None:
    (machine.checkout / ".venv" / "bin").mkdir(parents=True)
    code, calls, _ = machine.setup()
    assert code == 0
    assert "venv" in calls[0]


def test_environment_without_pip_is_made_anew_without_uv(root: Path, tmp_path: Path) -> None:
    machine = Machine(root, tmp_path)
    machine.install("python3", PYTHON)
    machine.install("uv", UV)
    machine.setup()
    (machine.state / "bin" / "uv").unlink()
    (machine.state / "no-pip").touch()
    (machine.checkout / "constraints.txt").write_text("")
    code, calls, _ = machine.setup()
    assert code == 0
    assert calls[0] == "-m venv .venv"


def test_old_python_is_refused_in_words(root: Path, tmp_path: Path) -> None:
    machine = Machine(root, tmp_path)
    machine.install("python3", PYTHON)
    (machine.state / "old").touch()
    code, calls, said = machine.setup()
    assert (code, calls) == (3, [])
    assert "expected Python 3.11 or newer, got: Python 3.12.1" in said
    assert "fix:" in said


def test_no_python_at_all_is_said_in_words(root: Path, tmp_path: Path) -> None:
    code, calls, said = Machine(root, tmp_path).setup()
    assert (code, calls) == (3, [])
    assert "expected Python 3.11 or newer" in said
