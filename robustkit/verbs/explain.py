"""`robustkit explain RK-...`: what a finding means and what to do about it."""

from difflib import get_close_matches

import click

from robustkit.errors import UserError
from robustkit.verbs.console import plain, print_json, print_table
from robustkit.verbs.verb import flags, verb


@verb("explain", example="robustkit explain RK-ZERO-GRADIENT")
@click.argument("finding", required=False)
@flags("json")
def command(finding: str | None, json: bool) -> None:
    """Say what FINDING means and what to do about it; without one, list them all."""
    from robustkit.audit.findings import FINDINGS

    if finding is None:
        if json:
            print_json({name: info._asdict() for name, info in FINDINGS.items()})
        else:
            rows = [(name, info.severity, info.title) for name, info in FINDINGS.items()]
            print_table("findings", ("id", "severity", "title"), rows)
        return
    name = finding.upper()
    if name not in FINDINGS:
        near = get_close_matches(name, FINDINGS, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "robustkit explain lists them all"
        raise UserError("the id of a finding", repr(finding), hint)
    info = FINDINGS[name]
    if json:
        print_json({"id": name, **info._asdict()})
        return
    paragraphs = [f"{name}: {info.title} (severity {info.severity})", info.meaning]
    paragraphs.append(f"What to do: {info.fix}")
    paragraphs += [f"See: {plain(reference)}" for reference in info.references]
    click.echo("\n\n".join(click.wrap_text(text, 88) for text in paragraphs))
