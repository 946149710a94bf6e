"""The README's Python runs as it stands, and its commands name flags and verbs that exist."""

import re
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=[str(i) for i in range(len(BLOCKS))])
def test_each_block_runs_as_it_stands(block: str) -> None:
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})  # noqa: S102 - our own text


def test_each_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (ROOT / target).exists(), target


def test_each_command_has_the_flags_it_is_shown_with() -> None:
    from robustkit.cli import cli

    commands = re.findall(r"^\$? ?robustkit ([a-z]+)((?:.|\\\n)*?)$", TEXT, re.MULTILINE)
    context = cli.make_context("robustkit", ["--version"], resilient_parsing=True)
    for verb, rest in commands:
        command = cli.get_command(context, verb)
        assert command is not None, verb
        if isinstance(command, click.Group):
            command = command.commands[rest.split()[0]]
        known = {flag for parameter in command.params for flag in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known
