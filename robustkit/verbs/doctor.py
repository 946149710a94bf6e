"""`robustkit doctor`: whether this machine can audit, and what could be added to it."""

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

import click

from robustkit.errors import ToolError
from robustkit.verbs.console import plain, print_json
from robustkit.verbs.verb import flags, verb

DISTRIBUTION = "robustkit-audit"
Status = Literal["ok", "warning", "missing", "broken"]
LITTLE_DISK = 1e9

EXTRAS = {
    "peers": ("art", "foolbox", "torchattacks"),
    "timm": ("timm",),
    "hf": ("huggingface_hub", "transformers", "datasets"),
    "onnx": ("onnx", "onnxruntime"),
    "detection": ("pycocotools",),
}
"""Extra -> the modules that it brings. What it requires is in the metadata of the package."""


class Check(NamedTuple):
    """One line: what was looked at, how it stands, what was found and what to do about it."""

    name: str
    status: Status
    found: str
    fix: str = ""


@verb("doctor", example="robustkit doctor")
@flags("json")
def command(json: bool) -> None:
    """Check Python, torch, devices, memory, disk and extras; leaves with 3 if audits cannot run."""
    checks = examine()
    if json:
        print_json([check._asdict() for check in checks])
    else:
        for check in checks:
            click.echo(f"{check.status:<8} {check.name:<22} {plain(check.found)}")
            if check.fix:
                click.echo(f"{'':<8} {'':<22} fix: {plain(check.fix)}")
    if any(check.status == "broken" for check in checks):
        click.get_current_context().exit(ToolError.exit_code)


def examine() -> list[Check]:
    """Every check, in the order of its printing."""
    return [
        _python(),
        Check("robustkit", "ok", _own_version()),
        *_torch(),
        _environment(),
        _disk(),
        *(_extra(name, modules) for name, modules in EXTRAS.items()),
    ]


def _python() -> Check:
    found = f"{platform.python_version()} on {platform.platform()}"
    fit = sys.version_info >= (3, 11)
    return Check("python", "ok" if fit else "broken", found, "" if fit else "use Python >= 3.11")


def _own_version() -> str:
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        from robustkit import __version__

        return f"{__version__}, not installed"


def _torch() -> list[Check]:
    try:
        import torch
    except Exception as error:  # noqa: BLE001 - a broken installation raises nearly anything
        fix = f"run: {sys.executable} -m pip install 'torch>=2.10' torchvision"
        return [Check("torch", "broken", f"{type(error).__name__}: {error}", fix)]
    checks = [Check("torch", "ok", str(torch.__version__))]
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 10):
        fix = "torch 2.10 closed a hole in the reading of checkpoints: upgrade"
        checks = [Check("torch", "broken", str(torch.__version__), fix)]
    devices = [
        f"cuda:{number} {torch.cuda.get_device_name(number)}, "
        f"{torch.cuda.get_device_properties(number).total_memory / 2**30:.0f} GiB"
        for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    ]
    if torch.backends.mps.is_available():
        devices.append("mps")
    found = "; ".join(devices) or "the CPU alone: right, and slow for large models"
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} CPUs"
    checks += [Check("devices", "ok", found), Check("threads", "ok", threads)]
    return checks


def _environment() -> Check:
    name = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    if os.environ.get(name, "") in ("", "0"):
        return Check("environment", "ok", "nothing that changes how checkpoints are read")
    return Check(
        "environment",
        "warning",
        f"{name}={os.environ[name]}: other programs here read checkpoints that run code "
        "(robustkit does not)",
        f"unset {name}",
    )


def _disk() -> Check:
    folder = Path.cwd()
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.1f} GB free in {folder}"
    if not os.access(folder, os.W_OK):
        return Check("disk", "warning", f"{folder} cannot be written", "give --out another folder")
    if free < LITTLE_DISK:
        return Check("disk", "warning", found, "free some space, or give --out another folder")
    return Check("disk", "ok", found)


def _extra(name: str, modules: tuple[str, ...]) -> Check:
    missing = [module for module in modules if find_spec(module) is None]
    if not missing:
        return Check(f"extra {name}", "ok", ", ".join(modules))
    # From the requirements, not by the extra: it works from a checkout and from a wheel.
    wanted = " ".join(f"'{one}'" for one in _requirements(name))
    return Check(
        f"extra {name}",
        "missing",
        f"{', '.join(missing)}: optional",
        f"run: {sys.executable} -m pip install {wanted or ' '.join(modules)}",
    )


def _requirements(extra: str) -> list[str]:
    """What the package's own metadata lists for an extra, without the marker."""
    try:
        listed = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        return []
    marker = f'extra == "{extra}"'
    found = [one.partition(";") for one in listed]
    return [name.strip() for name, _, rest in found if marker in rest.replace("'", '"')]
