"""A server of real processes: each line of standard input is one `robustkit` command line.

It imports everything once and forks, so that a test which kills dozens of audits does not wait for
dozens of imports. What is killed is a whole process of its own. Answers are lines of JSON: the
process id when it has begun, its exit status when it is over.
"""

import json
import os
import sys

import robustkit.audit.conduct
import robustkit.report.html  # noqa: F401 - imported for every child
from robustkit.cli import main


def run(words: list[str]) -> None:
    """The command line in this process, which it ends."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    sys.argv = ["robustkit", *words]
    try:
        main()
    except SystemExit as stop:
        os._exit(int(stop.code or 0))
    os._exit(0)


def serve() -> None:
    """Fork for every line until there are no more."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            run(json.loads(line))
        print(json.dumps({"pid": child}), flush=True)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    serve()
