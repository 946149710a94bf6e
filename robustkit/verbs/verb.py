"""A verb: a click command with an example in its help, `--debug`, and flags from the one table."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import click

from robustkit.options import Kind, Option, option

F = TypeVar("F", bound=Callable[..., Any])

DEBUG = "robustkit.debug"
"""Where the context keeps whether a traceback was asked for."""

_TYPES: dict[Kind, type] = {"text": str, "integer": int, "number": float, "switch": bool}


def _remember(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().meta[DEBUG] = True


def debug_option() -> click.Option:
    """`--debug`, for the group and for every verb."""
    return click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        envvar="ROBUSTKIT_DEBUG",
        callback=_remember,
        help="Show tracebacks of unexpected errors.",
    )


class Verb(click.Command):
    """A command whose help ends in an example to copy."""

    def __init__(self, *args: Any, example: str, **rest: Any) -> None:
        super().__init__(*args, **rest)
        self.params.append(debug_option())
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The example, word for word."""
        with formatter.section("Example"):
            for line in self.example.splitlines():
                formatter.write(f"  {line}\n")


def verb(name: str, *, example: str) -> Callable[[Callable[..., Any]], Verb]:
    """Make a function a verb; `example` is shown at the end of its help."""
    made: Callable[[Callable[..., Any]], Verb] = click.command(name, cls=Verb, example=example)
    return made


def flags(*chosen: str | Option) -> Callable[[F], F]:
    """Mount options of the table, in this order; an `Option` of a verb's own counts as well."""

    def mount(function: F) -> F:
        for one in reversed(chosen):
            function = _mounted(option(one) if isinstance(one, str) else one)(function)
        return function

    return mount


def single(name: str, default: str | None = None, **changes: Any) -> Option:
    """An option of the table that a verb takes once only, with a default or help of its own."""
    return replace(option(name), multiple=False, default=default, **changes)


def _mounted(one: Option) -> Callable[[F], F]:
    if one.kind == "switch":
        return click.option(
            one.flag, one.dest, is_flag=True, envvar=one.variable, help=one.help,
            show_envvar=one.unsafe,
        )  # fmt: skip
    return click.option(
        one.flag,
        one.dest,
        type=click.Choice(one.choices) if one.choices else _TYPES[one.kind],
        metavar=None if one.choices else one.metavar,
        multiple=one.multiple,
        default=() if one.multiple else one.default,
        show_default=one.default is not None,
        envvar=one.variable,
        show_envvar=one.unsafe,
        help=one.help,
    )
