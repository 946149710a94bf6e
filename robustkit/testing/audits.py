"""Audits of one pytest run: done once, kept in a cache by content, shared by xdist workers."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from robustkit.errors import UserError
from robustkit.testing import keys
from robustkit.testing.flags import OUT, dest
from robustkit.testing.settings import Settings

if TYPE_CHECKING:
    from robustkit.audit.plan import Plan
    from robustkit.records import AuditLog


class Audited(NamedTuple):
    """A log, the run directory with its report, and whether it was computed just now."""

    log: "AuditLog"
    folder: Path
    fresh: bool


@dataclass
class Audits:
    """The audits that tests asked for, by key; `root` holds a run directory each."""

    root: Path
    known: dict[str, Audited] = field(default_factory=dict)

    @classmethod
    def of(cls, config: pytest.Config) -> "Audits":
        """In --robust-out, or in pytest's cache; without one, in a temporary folder."""
        flag, ini = config.getoption(dest(OUT)), config.getini(OUT.ini_name)
        if flag or ini:
            base = config.invocation_params.dir if flag else config.rootpath
            return cls(base / (flag or ini))
        if config.pluginmanager.hasplugin("cacheprovider"):
            return cls(config.cache.mkdir("robustkit"))
        return cls(Path(tempfile.mkdtemp(prefix="robustkit-")))

    def get(self, settings: Settings, *, target: Any = None, samples: Any = None) -> Audited:
        """The audit of the settings' model and data, or of `target` and `samples` instead.

        A complete audit of the same content is read back, without importing torch where files
        tell what it is of; one that was cut short goes on where it stopped. Raises RobustkitError.
        """
        model, data = _named(settings, target, samples)
        model_key = keys.model_key(model) if isinstance(model, str) else None
        data_key = keys.data_key(data) if isinstance(data, str) else None
        if model_key is None:
            model = _load(model, settings)
            model_key = keys.weights_key(model)
        if data_key is None:
            from robustkit.loading import open_samples

            data = open_samples(data)
            data_key = data.sha256
        key = keys.audit_key(settings, model_key, data_key)
        if key in self.known:
            return self.known[key]._replace(fresh=False)
        self.known[key] = _shared(self.place(settings, key), settings, model, data)
        return self.known[key]

    def place(self, settings: Settings, key: str) -> Path:
        """The run directory of an audit; its name tells the threats and the key."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", "+".join(settings.threat)) or "audit"
        return self.root / f"{name}-{key[:16]}"


def worker_device(asked: str, worker: str, devices: int) -> str:
    """The device of an xdist worker: each takes another GPU, where nobody chose one.

    >>> worker_device("auto", "gw3", 2), worker_device("cpu", "gw3", 2)
    ('cuda:1', 'cpu')
    """
    if asked not in ("auto", "cuda") or not devices or not worker.startswith("gw"):
        return asked
    return f"cuda:{int(worker[2:]) % devices}"


def _named(settings: Settings, target: Any, samples: Any) -> tuple[Any, Any]:
    """Model and data, as text or as objects; raises UserError where one is missing."""
    model = settings.model if target is None else target
    data = settings.data if samples is None else samples
    if model is None:
        raise UserError(
            "a model to audit", "none",
            "give --robust-model, set robust_model, or define the fixture robust_target",
        )  # fmt: skip
    if data is None and not str(model).startswith("zoo:"):
        raise UserError(
            "data to audit the model on", "none",
            "give --robust-data, set robust_data, or define the fixture robust_samples",
        )  # fmt: skip
    data = "zoo:digits" if data is None else data
    return (str(one) if isinstance(one, Path) else one for one in (model, data))  # type: ignore[return-value]  # two of them


def _load(model: Any, settings: Settings) -> Any:
    """A Classifier from a name that no file is behind, or from a module, which stays where it is.

    A Classifier is taken as it is.
    """
    from robustkit.audit.device import choose_device
    from robustkit.loading import load
    from robustkit.model import Classifier

    if isinstance(model, Classifier):
        return model
    device: Any
    if isinstance(model, str):
        device = choose_device(_device(settings))
    else:
        weights = model.parameters() if hasattr(model, "parameters") else iter(())
        device = getattr(next(weights, None), "device", "cpu")
    return load(model, preprocess=settings.preprocess, device=device)


def _device(settings: Settings) -> str:
    """The device to audit on, as the plan takes it."""
    import torch

    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    return worker_device(settings.device, worker, torch.cuda.device_count())


def _shared(folder: Path, settings: Settings, model: Any, data: Any) -> Audited:
    """One worker audits while the others wait, and then read what it found."""
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        found = _finished(folder)
        if found:
            return Audited(found, folder, fresh=False)
        return Audited(_conducted(folder, settings, model, data), folder, fresh=True)


def _finished(folder: Path) -> "AuditLog | None":
    """The complete audit in `folder`, if there is one; what cannot be read is thrown away."""
    from robustkit.report.run_directory import AUDIT, REPORT, read_run

    if not (folder / AUDIT).is_file() or not (folder / REPORT).is_file():
        return None
    try:
        log = read_run(folder)
    except UserError:
        shutil.rmtree(folder)
        return None
    return log if log.status == "complete" else None


def _conducted(folder: Path, settings: Settings, model: Any, data: Any) -> "AuditLog":
    """Audit into `folder`, or go on with what was begun there."""
    from robustkit.audit.conduct import conduct

    plan = _plan(replace(settings, device=_device(settings)), folder, model, data)
    with _threads():
        return conduct(
            plan,
            model=None if isinstance(model, str) else model,
            samples=None if isinstance(data, str) else data,
        )


def _plan(settings: Settings, folder: Path, model: Any, data: Any) -> "Plan":
    from robustkit.audit.plan import make_plan

    return make_plan(
        model=model if isinstance(model, str) else model.name,
        data=data if isinstance(data, str) else data.name,
        arch=settings.arch if isinstance(model, str) else None,
        preprocess=settings.preprocess if isinstance(model, str) else None,
        threats=settings.threat,
        suite=settings.suite,
        attacks=settings.attack,
        samples=settings.samples,
        seed=settings.seed,
        device=settings.device,
        batch_size=settings.batch_size,
        budget=settings.budget,
        out=str(folder),
        resume=(folder / "ledger.jsonl").exists(),
    )


@contextmanager
def _threads() -> Iterator[None]:
    """Share the processors between xdist workers, unless somebody has said how."""
    import torch

    before = torch.get_num_threads()
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0"))
    if workers and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    try:
        yield
    finally:
        torch.set_num_threads(before)
