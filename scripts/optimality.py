"""How near to the nearest known errors each attack gets, ours and other libraries'.

Usage: python scripts/optimality.py --cache FOLDER [--model PART]... [--norm NORM]...
           [--attack PART]... [--samples 50] [--write]

AttackBench's local optimality (Cina et al. 2025, arXiv 2404.19460): 2000 forwards and backwards a
sample, counted by the model; fixed-budget attacks are given minimum norms by doubling and halving
each sample's budget. Every result is kept in FOLDER at once and not computed again, so that a run
may be stopped and repeated. `--write` makes reports/optimality.md of all that is there. Needs the
reference models in ../shared/reference; libraries that are not installed (ROBUSTKIT_PEERS names a
folder that has them) are left out, and the page says so.
"""

import argparse
import contextlib
import json
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from metered import LIMIT, Meter, SpentError
from optimality_page import SLACK, section
from peer_attacks import Peer, peers
from reference import MODELS, ROOT, need_reference
from torch import Tensor

from robustkit.attacks import bisected, build
from robustkit.attacks.attack import Attack, Problem, State, map_rows, pose
from robustkit.goal import Goal
from robustkit.loading import load, open_samples
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

NORMS = ("linf", "l2", "l1", "l0")
ROUNDS = 10
# The first budget of fixed-budget peers, as AttackBench has them.
FIRST = {"linf": 1 / 255, "l2": 1.0, "l1": 10.0}
# Which attack each of ours is one of, its settings, its norms.
OURS = (
    ("fmn", "fmn:steps=1000", "linf l2 l1 l0"),
    ("pdpgd", "pdpgd:steps=995", "linf l2 l1"),
    ("ddn", "ddn:steps=1000", "l2"),
    ("deepfool", "deepfool", "linf l2"),
    ("carlini-wagner", "carlini-wagner:steps=999", "linf l2"),
    ("lbfgs", "lbfgs:steps=1000", "l2"),
    ("ead", "ead:steps=999", "l1"),
    ("sigma-zero", "sigma-zero:steps=1000", "l0"),
    ("jsma", "jsma:steps=1000", "l0"),
    ("fab", "fab:steps=55,restarts=3", "linf l2"),
    ("fab", "fab:steps=165", "l1"),
    ("fab-t", "fab-t", "linf l2 l1"),
    ("pgd", "min-pgd:steps=100", "linf l2 l1"),
    ("apgd-t", "min-apgd-t:steps=20,rounds=20,targets=3", "linf l2 l1"),
    ("pgd", "pgd:steps=100", "linf l2 l1"),
    ("bim", "bim:steps=100", "linf l2 l1"),
    ("fgsm", "fgsm", "linf l2 l1"),
    ("mi-fgsm", "mi-fgsm:steps=100", "linf l2 l1"),
    ("apgd-ce", "apgd-ce", "linf l2 l1"),
    ("apgd-dlr", "apgd-dlr", "linf l2 l1"),
    ("square", "square:queries=200", "linf l2 l1"),
    ("rays", "rays:queries=2000", "linf"),
    ("boundary", "boundary:queries=2000", "l2"),
    ("hop-skip-jump", "hop-skip-jump:queries=2000", "l2"),
)


class Rival(NamedTuple):
    """An implementation, and how it attacks: a meter, pictures, labels."""

    family: str
    label: str
    run: Callable[[Meter, Tensor, Tensor], None]

    @property
    def ours(self) -> bool:
        """Whether it is one of this project's."""
        return self.label.startswith("robustkit")


def rivals(norm: str) -> list[Rival]:
    """Everybody who attacks in a norm."""
    own = [
        Rival(family, f"robustkit {text}", lambda *task, text=text: _run_ours(text, norm, *task))
        for family, text, norms in OURS
        if norm in norms.split()
    ]
    others = [
        Rival(peer.family, f"{peer.library} {peer.family}",
              lambda *task, peer=peer: _run_peer(peer, norm, *task))
        for peer in peers(norm)
    ]  # fmt: skip
    return own + others


def _run_ours(text: str, norm: str, meter: Meter, x: Tensor, y: Tensor) -> None:
    """One of our attacks, its restarts one after the other, nothing dropped."""
    attack = build(text)
    attack = attack if attack.minimum_norm else bisected(attack, rounds=ROUNDS)
    threat = ThreatModel(norm, 1.0 if norm == "linf" else 1e6)
    model, index = Classifier(meter), torch.arange(len(x))
    for restart in range(attack.restarts):
        problem = pose(model, x, Goal(y), threat, index=index, restart=restart)
        with torch.no_grad():
            _steps(attack, problem, meter)


def _steps(attack: Attack, problem: Problem, meter: Meter) -> None:
    """All steps of a batch; as in the engine, samples that are finished are asked about no more."""
    rows = torch.arange(len(problem.x))
    meter.about(rows)
    state = attack.init(problem)
    while len(rows):
        state = attack.step(problem, state)
        over = state.t >= attack.steps
        if not bool(over.any()):
            continue
        if attack.finish:
            meter.about(rows[over])
            attack.finish(problem.take(over), _taken(state, over))
        problem, rows = problem.take(~over), rows[~over]
        state = _taken(state, ~over)
        meter.about(rows)


def _taken(state: State, rows: Tensor) -> State:
    taken: State = map_rows(lambda part: part[rows], state)
    return taken


def _run_peer(peer: Peer, norm: str, meter: Meter, x: Tensor, y: Tensor) -> None:
    """Another library's attack; where it wants a budget, each sample's is searched for."""
    if peer.budget == "none":
        peer.run(meter, x, y, None)
        return
    eps, failed = torch.full((len(x),), FIRST[norm]), torch.zeros(len(x))
    enough = torch.full((len(x),), torch.inf)
    for _ in range(ROUNDS):
        for rows in _groups(eps, together=peer.budget != "one"):
            meter.about(rows)
            with contextlib.suppress(SpentError):
                peer.run(meter, x[rows], y[rows], _as_asked(peer.budget, eps[rows]))
        hit = meter.nearest <= eps * (1 + 1e-5)
        enough, failed = torch.where(hit, eps, enough), torch.where(hit, failed, eps)
        eps = torch.where(enough.isfinite(), (failed + enough) / 2, eps * 2)


def _as_asked(budget: str, eps: Tensor) -> Tensor | float:
    if budget == "one":
        return float(eps[0])
    return eps[:, None, None, None] if budget == "spread" else eps


def _groups(eps: Tensor, *, together: bool) -> Iterator[Tensor]:
    """The rows that can be attacked at once: all, or those of one budget."""
    if together:
        yield torch.arange(len(eps))
        return
    for value in eps.unique():
        yield (eps == value).nonzero().squeeze(1)


def measure(rival: Rival, model: Classifier, x: Tensor, y: Tensor, norm: str) -> dict[str, object]:
    """The record of one implementation on one model: distances `[N]`, propagations, seconds."""
    with torch.no_grad():
        right = model(x).argmax(1) == y
    meter = Meter(model, x[right], y=y[right], norm=norm)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - it is what peers draw from
    begun, error = time.perf_counter(), ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            rival.run(meter, x[right], y[right])
        except SpentError:
            pass
        except ImportError:
            raise
        except Exception as failure:  # noqa: BLE001 - what it found until then counts
            error = f"{type(failure).__name__}: {failure}"[:200]
    nearest = torch.zeros(len(x)).masked_scatter(right, meter.nearest)
    return {
        "family": rival.family, "label": rival.label, "error": error,
        "nearest": nearest.tolist(), "found": float(meter.nearest.isfinite().float().mean()),
        "forwards": float(meter.forwards.float().mean()),
        "backwards": float(meter.backwards.float().mean()),
        "seconds": time.perf_counter() - begun,
    }  # fmt: skip


def open_model(name: str, count: int) -> tuple[Classifier, Tensor, Tensor]:
    """A reference model, frozen, with its first `count` pictures and labels."""
    reference, (arch, preprocess, data) = need_reference(), MODELS[name]
    model = load(reference / f"{name}.safetensors", arch=arch, preprocess=preprocess)
    model.module.eval().requires_grad_(False)
    samples = open_samples(reference / f"{data}.npz", samples=count)
    return model, samples.pixels(slice(0, count)), samples.y


class Cache:
    """Records in a folder, one file for each model, norm, number of samples and implementation."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, rival: Rival, model: str, norm: str, count: int) -> Path:
        """Where a record is kept."""
        label = "".join(c if c.isalnum() or c in "-=,." else "_" for c in rival.label)
        return self.folder / norm / model.replace("/", "_") / str(count) / f"{label}.json"

    def results(self, norm: str) -> dict[str, list[dict[str, object]]]:
        """What is there of a norm: for each model the records of its largest number of samples."""
        known = {rival.label for rival in rivals(norm)}
        found = {}
        for model in MODELS:
            folders = (self.folder / norm / model.replace("/", "_")).glob("*")
            largest = max(folders, key=lambda folder: int(folder.name), default=None)
            if largest is not None:
                records = [json.loads(file.read_text()) for file in sorted(largest.glob("*.json"))]
                found[model] = [record for record in records if record["label"] in known]
        return found


def run(arguments: argparse.Namespace, cache: Cache) -> None:
    """Measure what is asked for and not there yet, and say how it went."""
    for name in MODELS:
        if arguments.model and not any(part in name for part in arguments.model):
            continue
        model, x, y = open_model(name, arguments.samples)
        for norm in arguments.norm or NORMS:
            for rival in rivals(norm):
                path = cache.path(rival, name, norm, arguments.samples)
                wanted = not arguments.attack or any(p in path.stem for p in arguments.attack)
                if path.is_file() or not wanted:
                    continue
                try:
                    record = measure(rival, model, x, y, norm)
                except ImportError as missing:
                    print(f"left out: {rival.label}: {missing}")
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(record))
                median = float(torch.tensor(record["nearest"]).median())
                print(
                    f"{name} {norm} {rival.label}: median {median:.4f} found {record['found']:.2f}"
                    f" in {record['forwards']:.0f}+{record['backwards']:.0f} passes,"
                    f" {record['seconds']:.0f} s {record['error']}",
                    flush=True,
                )


def page(cache: Cache) -> str:
    """The report of everything in the cache."""
    parts = []
    for norm in NORMS:
        found = cache.results(norm)
        missing = ", ".join(model for model in MODELS if model not in found)
        parts += [section(norm, found)] if found else [f"## {norm}\n"]
        parts += [f"Not measured: {missing}.\n"] if missing else []
    return (
        "# Local optimality, ours and other libraries'\n\n"
        f"AttackBench's measure with {LIMIT} forwards and backwards a sample: 1 for an attack that "
        "finds the smallest error that any of these found, 0 for one that finds nothing; `mean` is "
        "over the models. `found` is the share of samples with any error found, `passes` the "
        "forwards and backwards a sample, `s` the seconds on one thread. What is empty or in no "
        "table was not run: the script knows more attacks and models than there was time for. "
        "AutoAttack's FAB-T leaves a sample at its first success within eps, and so tries one "
        "target where eps is no limit. In the second table of each norm, which knows only what ran "
        "on every model, the best of ours may not be below the best of "
        f"theirs, nor below the best implementation of the same attack by more than {SLACK}.\n"
        f"Torch {torch.__version__}. Made by `python scripts/optimality.py --cache FOLDER "
        "--write`.\n\n" + "\n".join(parts)
    )


def main() -> None:
    """Measure, and write the page if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True, help="where results are kept")
    parser.add_argument("--model", action="append", help="part of a model's name")
    parser.add_argument("--norm", action="append", choices=NORMS)
    parser.add_argument("--attack", action="append", help="part of an implementation's file name")
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--write", action="store_true", help="make reports/optimality.md")
    arguments = parser.parse_args()
    need_reference()
    torch.set_num_threads(1)
    cache = Cache(arguments.cache)
    run(arguments, cache)
    text = page(cache)
    print(text)
    if arguments.write:
        (ROOT / "reports" / "optimality.md").write_text(text)


if __name__ == "__main__":
    main()
