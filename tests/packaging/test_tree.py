"""What the project says of itself is true of its tree."""

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HEAVY = {"torch", "torchvision", "scipy", "sklearn", "matplotlib", "numpy", "pydantic", "jinja2"}
# Distributions that import by another name.
IMPORTS = {"scikit-learn": "sklearn", "pillow": "PIL"}
# What pytest itself loads may import pytest.
HOSTED = ("robustkit/pytest_plugin.py", "robustkit/testing/")
PINNED = re.compile(r"[a-z0-9-]+==[0-9][A-Za-z0-9.]*")
SUFFIXES = {".py", ".md", ".toml", ".txt", ".html", ".css", ".j2", ".json", ".yml", ".yaml", ""}
FORBIDDEN = {
    "a registry host": re.compile(r"pypi\.|pythonhosted|anaconda\.org"),
    "a place on one machine": re.compile(r"(?<![\w.~])/(work|root|tmp)/"),
    "somebody else's distribution": re.compile(r"pip install robustkit(?!-audit)\b"),
}


def name_of(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9_.-]", requirement)[0].replace("_", "-").lower()


def committed(root: Path) -> Iterator[Path]:
    """Every text file of the project, those not committed yet included, links left out."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    for line in listed.stdout.splitlines():
        path = root / line
        if path.is_file() and not path.is_symlink() and path.suffix in SUFFIXES:
            yield path


def run_python(code: str) -> str:
    """Standard output of `code` in a process of its own, outside the tree."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_package_is_listed(pyproject: dict[str, Any], shipped: set[str]) -> None:
    folders = {Path(file).parent for file in shipped if file.endswith(".py")}
    assert sorted(pyproject["tool"]["setuptools"]["packages"]) == sorted(
        ".".join(folder.parts) for folder in folders
    )
    assert [str(folder) for folder in folders if f"{folder}/__init__.py" not in shipped] == []


@pytest.mark.parametrize("name", ["attacks", "defenses"])
def test_mapped_folder_is_a_relative_link(root: Path, name: str) -> None:
    link = root / "robustkit" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..", name)


@pytest.mark.parametrize("name", ["attacks", "defenses"])
def test_mapped_folder_refuses_its_top_level_name(root: Path, name: str) -> None:
    spec = importlib.util.spec_from_file_location(name, root / name / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ImportError, match=f"import robustkit.{name}"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_help_answers_without_heavy_libraries() -> None:
    code = (
        "import sys; from robustkit.cli import main; sys.argv = ['robustkit', '--help']\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print('loaded', *sys.modules)"
    )
    said, _, loaded = run_python(code).rpartition("loaded")
    assert "audit" in said
    assert HEAVY & set(loaded.split()) == set()


def test_import_is_light() -> None:
    assert HEAVY & set(run_python("import sys, robustkit; print(*sys.modules)").split()) == set()


def test_what_is_imported_at_once_is_installed_with_the_core(
    root: Path, shipped: set[str], pyproject: dict[str, Any]
) -> None:
    """An import at the top of a module, but for those of the type checker, needs no extra."""
    required = {name_of(line) for line in pyproject["project"]["dependencies"]}
    known = {IMPORTS.get(name, name) for name in required} | sys.stdlib_module_names
    known |= {"robustkit"}
    foreign = {
        (file, module)
        for file in shipped
        if file.endswith(".py") and not file.startswith(HOSTED)
        for module in top_imports(ast.parse((root / file).read_text()))
        if module not in known
    }
    assert foreign == set()


def top_imports(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_constraints_are_versions_only_and_cover_what_is_required(
    root: Path, pyproject: dict[str, Any]
) -> None:
    lines = (root / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not PINNED.fullmatch(line)] == []
    assert lines == sorted(set(lines))
    project = pyproject["project"]
    required = project["dependencies"] + project["optional-dependencies"]["dev"]
    assert {name_of(line) for line in required} <= {line.split("==")[0] for line in lines}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_names(root: Path, what: str) -> None:
    found = [
        f"{path.relative_to(root)}:{number}: {line.strip()[:80]}"
        for path in committed(root)
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if FORBIDDEN[what].search(line)
    ]
    assert found == []
