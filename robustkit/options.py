"""Every flag of an audit, declared once as data: mounted on the command line and on pytest.

An option says what it takes and what it is for; it does not check. Checking is the plan's, which
lists everything that is wrong with all flags together. Nothing here imports more than dataclasses.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "integer", "number", "switch"]

INI_TYPES: dict[Kind, str] = {
    "text": "string",
    "integer": "int",
    "number": "float",
    "switch": "bool",
}


@dataclass(frozen=True)
class Option:
    """One flag: `--name` here, `--robust-name` and the ini value `robust_name` under pytest.

    >>> option("at-least").dest, option("at-least").ini_name, option("at-least").ini_type
    ('at_least', 'robust_at_least', 'linelist')
    """

    name: str
    help: str
    kind: Kind = "text"
    metavar: str = ""
    default: str | int | float | None = None
    multiple: bool = False
    choices: tuple[str, ...] = ()
    unsafe: bool = False

    @property
    def variable(self) -> str | None:
        """The environment variable that sets it, for CI; only what is unsafe has one.

        >>> option("allow-pt2").variable
        'ROBUSTKIT_ALLOW_PT2'
        """
        return f"ROBUSTKIT_{self.dest.upper()}" if self.unsafe else None

    @property
    def flag(self) -> str:
        """The flag on our own command line."""
        return f"--{self.name}"

    @property
    def pytest_flag(self) -> str:
        """The flag on pytest's command line."""
        return f"--robust-{self.name}"

    @property
    def dest(self) -> str:
        """The name of the Python argument that takes the value."""
        return self.name.replace("-", "_")

    @property
    def ini_name(self) -> str:
        """The name of the value in pytest's ini file."""
        return f"robust_{self.dest}"

    @property
    def ini_type(self) -> str:
        """The type of the ini value, as pytest's `addini` knows it; several values are lines."""
        return "linelist" if self.multiple else INI_TYPES[self.kind]


_DECLARED = (
    Option(
        "threat",
        "What the attacker may do, NORM:EPS in pixels of [0, 1]; may be given several times.",
        metavar="NORM:EPS",
        multiple=True,
    ),
    Option("suite", "A named list of attacks, see `robustkit list suites`.", metavar="NAME"),
    Option(
        "attack",
        "One attack instead of a suite, see `robustkit list attacks`; may be given several times.",
        metavar="NAME[:KEY=VALUE,...]",
        multiple=True,
    ),
    Option(
        "data",
        "The pictures: a folder of class folders, an .npz with x and y, or SCHEME:NAME.",
        metavar="SPEC",
    ),
    Option(
        "arch",
        "The function that returns the untrained network that a file holds the weights of.",
        metavar="PKG.MOD:FACTORY",
    ),
    Option(
        "preprocess",
        "What the network expects: none, cifar10, imagenet, mnist, half or mean=..;std=..",
        metavar="NAME",
    ),
    Option(
        "state-key",
        "Where the weights are in a checkpoint, if it is not one of the usual places.",
        metavar="KEY",
    ),
    Option("strip-prefix", "Take this from the names of the weights.", metavar="PREFIX"),
    Option(
        "trust-class",
        "UNSAFE: let a pickle make objects of this class of yours; may be given several times.",
        metavar="PKG.MOD:CLASS",
        multiple=True,
        unsafe=True,
    ),
    Option(
        "allow-unsafe-pickle",
        "UNSAFE: let a pickle call anything, in a child process; the report will say so.",
        kind="switch",
        unsafe=True,
    ),
    Option(
        "allow-torchscript",
        "UNSAFE: run the program in a TorchScript archive; the report will say so.",
        kind="switch",
        unsafe=True,
    ),
    Option(
        "allow-pt2",
        "UNSAFE: read a torch.export archive, which can run code; the report will say so.",
        kind="switch",
        unsafe=True,
    ),
    Option(
        "allow-onnx-external",
        "UNSAFE: let an ONNX file take weights from files beside it; the report will say so.",
        kind="switch",
        unsafe=True,
    ),
    Option(
        "query-budget",
        "Ask a model behind an address about at most N pictures in all.",
        kind="integer",
        metavar="N",
    ),
    Option(
        "rate",
        "Send a model behind an address at most N requests a second.",
        kind="number",
        metavar="N",
    ),
    Option("samples", "Audit the first N samples only.", kind="integer", metavar="N"),
    Option("seed", "The seed of all randomness.", kind="integer", metavar="N", default=0),
    Option("device", "auto, cpu, cuda, cuda:1 or mps.", metavar="NAME", default="auto"),
    Option(
        "batch-size",
        "Pictures at once; it changes the speed, never the result.",
        metavar="auto|N",
        default="auto",
    ),
    Option("budget", "Stop after this time, such as 90s, 10m or 1h.", metavar="TIME"),
    Option(
        "at-least",
        "Fail below this robust accuracy: 0.45, or linf:8/255=0.45; may be given several times.",
        metavar="[THREAT=]FRACTION",
        multiple=True,
    ),
    Option(
        "gate",
        "What --at-least asks for: no evidence of a breach, proof of robustness, or the bare "
        "number.",
        default="no-breach",
        choices=("no-breach", "proven", "point"),
    ),
    Option("baseline", "Fail if this earlier run was significantly better.", metavar="RUN"),
    Option(
        "claimed",
        "A published robust accuracy; the report says whether the measurement contradicts it.",
        kind="number",
        metavar="FRACTION",
    ),
    Option("fail-untrusted", "Leave with 6 if the number cannot be trusted.", kind="switch"),
    Option("out", "Where results go.", metavar="PATH"),
    Option("resume", "Continue the interrupted run in --out.", kind="switch"),
    Option("json", "Print JSON on standard output, and nothing else.", kind="switch"),
    Option(
        "trace", "Keep loss and size of each step for a few samples, and plot them.", kind="switch"
    ),
    Option(
        "curve",
        "Robust accuracy at every budget up to twice the threat's, from one minimum-norm run.",
        kind="switch",
    ),
    Option(
        "surrogate",
        "An undefended model of the same data, loaded like MODEL: its examples are tried as well; "
        "may be given several times, then they are made on all of them together.",
        metavar="MODEL",
        multiple=True,
    ),
    Option(
        "defense",
        "A part around the model, see `robustkit list defenses`; may be given several times, in "
        "the order in which a picture passes them. The audit attacks it as who knows it.",
        metavar="NAME[:KEY=VALUE,...]",
        multiple=True,
    ),
    Option(
        "defense-data",
        "Clean pictures that a detector is fitted and calibrated on, other ones than --data.",
        metavar="SPEC",
    ),
    Option("shard", "Audit only part I of N of the samples.", metavar="I/N"),
)

LOADING = (
    "arch", "preprocess", "state-key", "strip-prefix", "trust-class", "allow-unsafe-pickle",
    "allow-torchscript", "allow-pt2", "allow-onnx-external", "query-budget", "rate",
)  # fmt: skip
"""The options that say how a model is loaded, on every verb that loads one."""

OPTIONS: dict[str, Option] = {one.name: one for one in _DECLARED}


def dest(name: str) -> str:
    """The name of the Python argument that takes an option's value.

    >>> dest("state-key")
    'state_key'
    """
    return OPTIONS[name].dest


def option(name: str) -> Option:
    """The option declared as `name`."""
    return OPTIONS[name]
