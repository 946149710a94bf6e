"""`robustkit audit MODEL`: the main job."""

from pathlib import Path
from typing import Any

import click

from robustkit.verbs.auditing import PLANNED, carried_out, exit_code, planned, written_out
from robustkit.verbs.console import console, plain, print_json
from robustkit.verbs.demo import both
from robustkit.verbs.verb import flags, verb

EXAMPLE = """\
robustkit audit model.safetensors --arch mypkg.nets:resnet18 --preprocess cifar10 \\
    --data test.npz --threat linf:8/255 --suite standard --at-least 0.45 --out run/"""


@verb("audit", example=EXAMPLE)
@click.argument("model", required=False)
@flags(*PLANNED)
def command(model: str | None, **given: Any) -> None:
    """Measure how often MODEL is still right when somebody attacks it, and write a report.

    MODEL is a file of weights (with --arch), zoo:NAME, torchvision:NAME, timm:NAME, hf:ORG/NAME or
    py:pkg.mod:factory. Without MODEL and --data, two small models that come with robustkit are
    audited side by side, as `robustkit demo` does.
    """
    if model is None and not given["data"]:
        both(given)
        return
    plan = planned(model, given)
    assert plan.out is not None
    log = carried_out(plan, command=written_out("audit", model, given))
    if given["json"]:
        print_json(log.model_dump(mode="json"))
    else:
        from robustkit.report.terminal import render_terminal

        render_terminal(log, console())
    click.echo(f"written to {plain(Path(plan.out))}", err=True)
    code = exit_code([log], fail_untrusted=given["fail_untrusted"])
    click.get_current_context().exit(code)
