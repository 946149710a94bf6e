"""The loop over `Trainer.advance`: probes, remedies, validation, the best kept, the run saved."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from robustkit.defenses.training import checkpoint
from robustkit.defenses.training.average import copied
from robustkit.defenses.training.guards import (
    ATTACK_GAP,
    MEMORISED,
    Alarm,
    Probe,
    Scores,
    alarm,
    firmer,
    guessing,
    probe,
    remedy,
    validate,
)  # fmt: skip
from robustkit.defenses.training.objectives import ONE_STEP, UNATTACKED, VOTES
from robustkit.defenses.training.recipe import Recipe
from robustkit.defenses.training.trainer import Trainer
from robustkit.loading.samples import Samples
from robustkit.model import Classifier
from robustkit.records import Record
from robustkit.threat import ThreatModel

MOST_FALLS = 2
PROBE_EVERY = 200

Status = Literal["running", "complete", "catastrophic overfitting", "collapse", "no progress"]


class Entry(Record):
    """A line of the log: the end of an epoch with its `scores`, or an `alarm` and its `remedy`.

    `objective`, `rate` and `eps` are those of the step before; `loss` is the mean since the entry
    before. `memorised` says that robust accuracy on training pictures is 15 points higher,
    `flattered` that accuracy under the margin is 3 points lower than under cross-entropy.
    """

    epoch: int
    step: int
    objective: str
    rate: float
    eps: float
    loss: float
    probe: Probe
    scores: Scores | None = None
    alarm: Alarm = ""
    remedy: str = ""
    memorised: bool = False
    flattered: bool = False


@dataclass(frozen=True)
class Training:
    """What came of a run. `best` has the highest robust accuracy on validation of all epochs.

    In training for a vote, of which attacks on the model alone say little, it is the last one.
    `before` are the scores of the model as it came, on the same pictures. A run whose ladder of
    remedies ended has an alarm as its `status`; `best` is then the best of its healthy epochs, or
    the model as it came.
    """

    status: Status
    log: tuple[Entry, ...]
    before: Scores
    scores: Scores
    best: Classifier
    last: Classifier


Watch = Callable[[Entry], None]


def train(  # noqa: PLR0913 - what is trained, on what, against what, how; the rest is named
    model: Classifier,
    data: Samples,
    threat: ThreatModel,
    recipe: Recipe,
    *,
    seed: int = 0,
    folder: Path | None = None,
    resume: bool = False,
    watch: Watch = lambda entry: None,
) -> Training:
    """Train a copy of `model` against `threat`; the model itself stays as it is.

    With a `folder` the run is saved after every healthy epoch, and `resume` goes on with it: on the
    CPU to the same bits. `watch` is called with every entry of the log. Raises UserError for a
    folder that has a run, or another one than that which is resumed.
    """
    there = bool(folder) and checkpoint.claim(Path(folder or ""), resume=resume)
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        run = _Run(Trainer(model, data, threat, recipe, seed=seed), folder, watch)
        run.identity = {
            "recipe": recipe.model_dump_json(), "threat": f"{threat.norm_name}:{threat.eps}",
            "seed": seed, "data": data.sha256, "model": model.sha256,
        }  # fmt: skip
        if there:
            run.take_up()
        while run.status == "running":
            run.proceed()
        return run.outcome()


class _Run:
    """A trainer with its guards, its log and its place on the disk."""

    def __init__(self, trainer: Trainer, folder: Path | None, watch: Watch) -> None:
        self.trainer, self.folder, self.watch = trainer, folder, watch
        self.identity: dict[str, Any] = {}
        self.start = self.healthy = trainer.snapshot()
        self.before = validate(trainer.average, trainer.pictures(trainer.held), trainer.threats)
        self.scores, self.best = self.before, copied(trainer.average.module)
        self.status: Status = "running"
        self.log: list[Entry] = []
        self.peak = 0.0
        self.losses: list[Tensor] = []

    def proceed(self) -> None:
        """One step; a probe twice an epoch and every 200 steps; validation where one ends."""
        trainer = self.trainer
        self.losses.append(trainer.advance())
        position = trainer.step % trainer.epoch_steps
        every = min(PROBE_EVERY, max(1, trainer.epoch_steps // 2))
        if position and (position % every or trainer.epoch_steps - position < every):
            return
        seen = probe(trainer.model, trainer.probed(), trainer.now)
        epochs = trainer.step / trainer.epoch_steps
        warm, one_step = trainer.eps_share == 1, trainer.objective in ONE_STEP
        found = alarm(
            seen, best=self.peak, warm=warm, epochs=epochs, one_step=one_step,
            loss=self._mean_loss(),
        )  # fmt: skip
        if found == "catastrophic overfitting" and trainer.objective in UNATTACKED:
            found = ""  # it is no failure of training that never met an attack
        if found:
            self._mend(found, seen)
            return
        self.peak = max(self.peak, seen.multi_step)
        if not position:
            self._end_epoch(seen)

    def _mend(self, found: Alarm, seen: Probe) -> None:
        """Roll back and change what went wrong, or give up where nothing is left to change."""
        trainer = self.trainer
        entry = self._entry(seen, alarm=found)
        if found != "catastrophic overfitting":
            trainer.falls += 1
            following = firmer(trainer.objective)
            slower = ", lr / 5" if trainer.falls > 1 else ""
            gentler = f"from the start with {following}, slower eps{slower}"
            cure, kept = gentler if trainer.falls <= MOST_FALLS else "", self.start
        else:
            cure = following = remedy(trainer.objective, trainer.threat)
            kept = self.healthy
        self._write_down(entry.model_copy(update={"remedy": cure or "none is left: stopped"}))
        trainer.restore(kept)
        self.peak, self.losses = 0.0, []
        if cure:
            trainer.objective = following
        else:
            self.status = found or "collapse"
            self._save()

    def _end_epoch(self, seen: Probe) -> None:
        """Validate the average, keep it if it is the best so far, and save."""
        trainer = self.trainer
        scores = validate(trainer.average, trainer.pictures(trainer.held), trainer.threats)
        if not guessing(seen) and self._better(scores):
            self.scores, self.best = scores, copied(trainer.average.module)
        warm = trainer.eps_share == 1
        warnings = {
            "memorised": warm and seen.multi_step - scores.robust > MEMORISED,
            "flattered": warm and seen.multi_step - seen.margin > ATTACK_GAP,
        }
        if trainer.progress >= 1:
            self.status = "complete"
        self.healthy = trainer.snapshot()
        entry = self._entry(seen, scores=scores, **warnings)
        self.losses = []
        self.log.append(entry)
        self._save()
        self.watch(entry)

    def _better(self, scores: Scores) -> bool:
        """Clean accuracy within its limit comes first, then robust, then clean.

        Where robustness is to come from a vote, the later epoch is the better one.
        """
        least = self.before.clean - self.trainer.recipe.max_clean_drop - 1e-9
        if (scores.clean >= least) != (self.scores.clean >= least):
            return scores.clean >= least
        if self.trainer.objective in VOTES:
            return True
        return (scores.robust, scores.clean) > (self.scores.robust, self.scores.clean)

    def _entry(self, seen: Probe, **more: Any) -> Entry:
        trainer = self.trainer
        return Entry(
            epoch=trainer.step // trainer.epoch_steps,
            step=trainer.step,
            objective=trainer.objective,
            rate=trainer.rate,
            eps=float(trainer.now.eps),
            loss=self._mean_loss(),
            probe=seen,
            **more,
        )

    def _mean_loss(self) -> float:
        """That of training since the entry before."""
        return float(torch.stack(self.losses).mean())

    def _write_down(self, entry: Entry) -> None:
        self.log.append(entry)
        self.watch(entry)

    def _save(self) -> None:
        """Put the run on the disk; its state there is always a healthy one."""
        if self.folder is None:
            return
        trainer = self.trainer
        content = {
            "identity": self.identity, "status": self.status, "state": self.healthy,
            "objective": trainer.objective, "falls": trainer.falls, "peak": self.peak,
            "best": self.best, "scores": self.scores.model_dump(),
            "log": json.dumps([one.model_dump() for one in self.log]),
        }  # fmt: skip
        checkpoint.write(self.folder, content)

    def take_up(self) -> None:
        """Go on where the run on the disk stands."""
        assert self.folder is not None
        kept = checkpoint.read(self.folder, self.identity)
        trainer = self.trainer
        self.healthy, self.best, self.status = kept["state"], kept["best"], kept["status"]
        trainer.objective, trainer.falls = kept["objective"], kept["falls"]
        trainer.restore(self.healthy)
        self.peak, self.scores = kept["peak"], Scores(**kept["scores"])
        self.log = [Entry(**one) for one in json.loads(kept["log"])]

    def outcome(self) -> Training:
        """The run's models, in evaluation mode, and its log."""
        last, best = self.trainer.average, self.trainer.model
        best.module.load_state_dict(self.best)
        last.module.eval()
        best.module.eval()
        return Training(self.status, tuple(self.log), self.before, self.scores, best, last)
