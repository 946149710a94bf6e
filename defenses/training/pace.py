"""How many epochs fit into a time."""

import time

from robustkit.defenses.training.guards import probe, validate
from robustkit.defenses.training.recipe import Recipe, recipe
from robustkit.defenses.training.trainer import Trainer
from robustkit.loading.samples import Samples
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

TIMED = 3
MOST = 60
ENOUGH = 10
"""Epochs that several steps of PGD need to pay; with time for fewer, one step is better."""


def within(
    seconds: float,
    model: Classifier,
    data: Samples,
    threats: tuple[ThreatModel, ...],
    *,
    name: str | None,
) -> Recipe:
    """The recipe `name`, or else the best one, with as many epochs as fit into `seconds`: 1 to 60.

    It is measured here and now, on a copy of the model.
    """

    def preset(name: str) -> Recipe:
        several, width = len(threats) > 1, data.x.shape[-1]
        chosen = recipe(name, threats[0], several=several, width=width)
        return chosen.model_copy(update={"others": tuple(one.text for one in threats[1:])})

    chosen = preset(name or "standard")
    epochs = _fitting(seconds, model, data, threats[0], chosen)
    if name is None and epochs < ENOUGH:
        chosen = preset("fast")
        epochs = _fitting(seconds, model, data, threats[0], chosen)
    return chosen.model_copy(update={"epochs": epochs})


def _fitting(
    seconds: float, model: Classifier, data: Samples, threat: ThreatModel, chosen: Recipe
) -> int:
    trainer = Trainer(model, data, threat, chosen, seed=0)
    trainer.advance()
    started = time.perf_counter()
    for _ in range(TIMED):
        float(trainer.advance())
    stepped = (time.perf_counter() - started) / TIMED * trainer.epoch_steps
    started = time.perf_counter()
    probe(trainer.model, trainer.probed(), threat)
    probed = time.perf_counter() - started
    validate(trainer.average, trainer.pictures(trainer.held), trainer.threats)
    watched = time.perf_counter() - started + probed
    return max(1, min(MOST, int((seconds - watched) / (stepped + watched))))
