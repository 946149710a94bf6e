"""The command line: one group whose verbs are imported only when they are called.

To add a verb: write `robustkit/verbs/MODULE.py` with a `command`, add a row to `VERBS`.
"""

import importlib
import signal
import sys
import traceback
from types import FrameType
from typing import Any, NoReturn

import click

from robustkit.errors import PlanErrors, RobustkitError
from robustkit.verbs.console import plain
from robustkit.verbs.verb import DEBUG, Verb, debug_option

VERBS: dict[str, tuple[str, str]] = {
    "audit": ("robustkit.verbs.audit", "Measure how robust a model is, and report it."),
    "attack": ("robustkit.verbs.attack", "Write adversarial examples of a model to files."),
    "flip": ("robustkit.verbs.flip", "Turn one picture into another class, and show how."),
    "patch": ("robustkit.verbs.patch", "Train a patch, put it on pictures, print it."),
    "detect": ("robustkit.verbs.detect", "Blind an object detector; mAP before and after."),
    "demo": ("robustkit.verbs.demo", "Audit the two models that come with robustkit."),
    "harden": ("robustkit.verbs.harden", "Train a model against attacks; audit what it won."),
    "certify": ("robustkit.verbs.certify", "Prove what no attack can change."),
    "compare": ("robustkit.verbs.compare", "Compare runs sample by sample; fail on a drop."),
    "report": ("robustkit.verbs.report", "Render a finished run in another format."),
    "explain": ("robustkit.verbs.explain", "Say what a finding means and what to do about it."),
    "inspect": ("robustkit.verbs.inspect_file", "Say what a checkpoint holds, running nothing."),
    "list": ("robustkit.verbs.listing", "List attacks, defenses, suites, models, data, threats."),
    "doctor": ("robustkit.verbs.doctor", "Check this machine and what is installed on it."),
    "init": ("robustkit.verbs.init", "Write a robustness test and its CI into a repository."),
}
"""Verb -> (the module with its `command`, what the group's --help says of it)."""

EXIT_CODES = """\b
Exit codes:
  0  done, every gate passed    4    model or data refused
  1  a gate failed              5    incomplete or undecided
  2  wrong usage                6    untrusted, with --fail-untrusted
  3  tool or environment error  130  interrupted, 143 terminated: resumable"""


class Terminated(KeyboardInterrupt):
    """SIGTERM, on the path of SIGINT: whoever saves its work for one saves it for both."""


class Robustkit(click.Group):
    """A group that imports a verb when it is called, and ends every error in words."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order of their table."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb; None if there is no such verb."""
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(VERBS[cmd_name][0]).command
        assert isinstance(command, Verb)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of verbs, without importing one."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; an error is printed in words and its exit code is left with."""
        before = _on_sigterm(_terminate)
        code = 0
        result = None
        try:
            result = super().invoke(ctx)
        except RobustkitError as error:
            _explain(error)
            code = error.exit_code
        except KeyboardInterrupt as stop:
            code = 143 if isinstance(stop, Terminated) else 130
            note = "; ".join(getattr(stop, "__notes__", ())) or "nothing new was finished"
            click.echo(plain(f"interrupted: {note}"), err=True)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:  # noqa: BLE001 - no traceback ever reaches a user
            _unexpected(error, debug=bool(ctx.find_root().meta.get(DEBUG)))
            code = 3
        finally:
            _on_sigterm(before)
        if code:
            ctx.exit(code)
        return result


def _explain(error: RobustkitError) -> None:
    """Print what was expected, what came and what to do, of each of several errors."""
    errors: list[Any] = error.errors if isinstance(error, PlanErrors) else [error]
    for one in errors:
        click.echo(f"error: expected {plain(one.expected)}", err=True)
        click.echo(f"       got {plain(one.got)}", err=True)
        click.echo(f"       fix: {plain(one.fix)}", err=True)


def _unexpected(error: Exception, *, debug: bool) -> None:
    """Print one line on an error that nobody foresaw, and the traceback if it was asked for."""
    if debug:
        traceback.print_exception(error)
    what = plain(" ".join(f"{type(error).__name__}: {error}".split()))
    hint = "" if debug else " (robustkit --debug shows where)"
    click.echo(f"error: unexpected {what[:500]}{hint}", err=True)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def _on_sigterm(handler: Any) -> Any:
    """Set the handler of SIGTERM and return the one before; only the main thread can."""
    try:
        return signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)
    except ValueError:
        return None


@click.group(
    cls=Robustkit,
    epilog=EXIT_CODES,
    params=[debug_option()],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=True,
)
@click.version_option(package_name="robustkit-audit", prog_name="robustkit")
def cli() -> None:
    """How easily can an image model be fooled? Measure it, prove it, make it better.

    \b
    robustkit demo
    robustkit audit model.safetensors --arch mypkg.nets:resnet18 --data pictures/ --out run/
    """


def main() -> None:
    """The console script."""
    # A downstream `| head` ends us quietly, and what we print fits any terminal's encoding.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    cli(prog_name="robustkit")
