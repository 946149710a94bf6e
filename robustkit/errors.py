"""Errors that say what was expected, what came and what to do.

Every error that a person can cause is one of these. The command line prints it without a traceback
and leaves with its `exit_code`; the API raises it as it is.
"""


class RobustkitError(Exception):
    """An error in three parts: `expected`, `got` and `fix`.

    >>> print(UserError("a threat such as linf:8/255", "linf", "add a budget: linf:8/255"))
    expected a threat such as linf:8/255, got linf
    fix: add a budget: linf:8/255
    """

    exit_code = 3

    def __init__(self, expected: str, got: str, fix: str) -> None:
        super().__init__(f"expected {expected}, got {got}\nfix: {fix}")
        self.expected, self.got, self.fix = expected, got, fix


class UserError(RobustkitError):
    """A flag, argument or configuration that cannot be meant (exit code 2)."""

    exit_code = 2


class ToolError(RobustkitError):
    """The machine cannot do it: a missing extra, a full disk, no such device (exit code 3)."""

    exit_code = 3


class RefusedError(RobustkitError):
    """A model or a data set that is not safe or not fit to be used (exit code 4)."""

    exit_code = 4


class PlanErrors(UserError):
    """Several user errors found in one look at the plan, listed together."""

    def __init__(self, errors: list[UserError]) -> None:
        self.errors = errors
        first = errors[0]
        super().__init__(first.expected, first.got, first.fix)
        self.args = ("\n".join(str(error) for error in errors),)
