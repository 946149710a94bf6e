"""The report on a terminal: the verdict first, then what it rests on."""

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from robustkit.records import AttackRecord, AuditLog, Finding, ThreatRecord
from robustkit.report.defense_words import defense_words
from robustkit.report.numbers import count, drop, duration, percent, span
from robustkit.report.patch_words import namer, patch_words
from robustkit.report.text import plain, shorten
from robustkit.report.threats import title
from robustkit.report.verdict import BOUND, ordered, sentence, trust, trust_words

TRUST_STYLES = {"trusted": "bold green", "provisional": "bold yellow", "untrusted": "bold red"}
SEVERITY_STYLES = {"high": "bold red", "medium": "yellow", "low": "cyan", "info": "dim"}
VERDICT_STYLES = {"PASS": "bold green", "FAIL": "bold red", "UNDECIDED": "bold yellow"}
CLASSES_SHOWN = 5
COLUMNS = ("met", "fooled", "alone", "left", "forwards", "backwards", "time")
NARROW = ("fooled", "left")
WIDE = 78


def render_terminal(log: AuditLog, console: Console) -> None:
    """Print the log; names from elsewhere are cleaned, no markup in them is obeyed."""
    console.print(Text(_header(log), style="dim"))
    for record in log.threats:
        console.print()
        _threat(record, log, console)
    console.print()
    status = trust(log)
    console.print(Text.assemble((f"{status}: ", TRUST_STYLES[status]), trust_words(log)))
    console.print(Text(BOUND, style="dim"))
    for one in ordered(log.findings):
        console.print(_finding(one))
    for line in _judgements(log):
        console.print(line)


def _header(log: AuditLog) -> str:
    device = plain(log.environment.get("device", ""))
    parts = [
        f"model {plain(log.model.name)}",
        f"data {plain(log.data.name)} (n = {log.data.samples})",
        f"seed {log.seed}",
        *([device] if device else []),
        duration(log.seconds),
    ]
    return ", ".join(parts)


def _threat(record: ThreatRecord, log: AuditLog, console: Console) -> None:
    """Verdict, attacks and weakest classes under one threat."""
    console.print(Text(sentence(record, log), style="bold"))
    clean = f"{percent(record.clean_accuracy)} are classified correctly without an attack."
    console.print(Text(f"{clean}"))
    console.print(_cascade(record, console.width))
    if record.trusted and len(record.classes) > 1:
        console.print(Padding(Text(_weakest(record)), (0, 0, 0, 2)))
    for words in defense_words(record):
        console.print(Padding(Text(words), (0, 0, 0, 2)))
    if record.trusted and record.patch:
        words = plain(patch_words(record.patch, namer(log)))
        console.print(Padding(Text(words), (0, 0, 0, 2)))


def _cascade(record: ThreatRecord, width: int) -> Table:
    """A row an attack; a narrow terminal gets the columns that matter most."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(Text(title(record.threat)), overflow="fold", min_width=10)
    met = [attack for attack in record.attacks if attack.attempted] or list(record.attacks)
    rows = [_cells(attack, trusted=record.trusted) for attack in met]
    shown = COLUMNS if width >= WIDE else NARROW
    for column in shown:
        table.add_column(column, justify="right", no_wrap=True)
    for attack, cells in zip(met, rows, strict=True):
        table.add_row(Text(plain(attack.name)), *(cells[column] for column in shown))
    if len(met) < len(record.attacks):
        table.add_row(Text(f"and {len(record.attacks) - len(met)} that met nothing", style="dim"))
    return table


def _cells(attack: AttackRecord, *, trusted: bool) -> dict[str, str]:
    alone = attack.robust_accuracy_alone
    values = (
        count(attack.attempted),
        count(attack.fooled),
        percent(alone) if trusted and alone is not None else "-",
        percent(attack.robust_accuracy_so_far) if trusted else "-",
        count(attack.forwards),
        count(attack.backwards),
        duration(attack.seconds),
    )
    return dict(zip(COLUMNS, values, strict=True))


def _weakest(record: ThreatRecord) -> str:
    worst = sorted(record.classes, key=lambda one: one.robust / max(one.samples, 1))
    shown = (
        f"{shorten(one.name, 24)} {percent(one.robust / max(one.samples, 1))} "
        f"({span(one.interval)}, n = {one.samples})"
        for one in worst[:CLASSES_SHOWN]
    )
    return f"weakest classes: {'; '.join(shown)}"


def _finding(one: Finding) -> Text:
    where = f" under {title(one.threat)}" if one.threat else ""
    return Text.assemble(
        (f"{one.severity:<7}", SEVERITY_STYLES[one.severity]),
        (f"{plain(one.id)}{where}: ", "bold"),
        plain(one.message),
        (f" Fix: {plain(one.fix)}", "dim"),
    )


def _judgements(log: AuditLog) -> list[Text]:
    """Gates, claims and comparisons, a line each."""
    lines = []
    for gate in log.gates:
        what = f" gate {gate.mode} on {title(gate.threat)}: {plain(gate.reason)}"
        lines.append(Text.assemble((gate.verdict, VERDICT_STYLES[gate.verdict]), what))
    for claim in log.claims:
        style = "bold red" if claim.verdict == "CONTRADICTED" else "bold"
        what = f" claim on {title(claim.threat)}: {plain(claim.reason)}"
        lines.append(Text.assemble((claim.verdict, style), what))
    for one in log.comparisons:
        word, style = ("DROP", "bold red") if one.significant_drop else ("NO DROP", "bold green")
        what = f" against {plain(one.baseline)} under {title(one.threat)}: {drop(one)}"
        lines.append(Text.assemble((word, style), what))
    return lines
