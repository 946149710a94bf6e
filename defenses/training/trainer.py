"""A run of adversarial training: its state, one step of it, and how it is put back."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from robustkit.defenses.training.augment import mirrored, shifted
from robustkit.defenses.training.average import average_, copied
from robustkit.defenses.training.inner import Batch
from robustkit.defenses.training.objectives import objective, takes
from robustkit.defenses.training.recipe import Recipe
from robustkit.draws import Draws
from robustkit.errors import UserError
from robustkit.loading.samples import Samples
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

MOST_HELD = 1000
PROBED = 256
_SPLIT, _ORDER, _PICTURES = 1, 2, 3


class Trainer:
    """The module being trained, its average, its optimiser, and the data of both splits.

    The user's module is copied and stays as it is. `objective` names what is minimised now and
    `falls` counts collapses: each makes the growth of eps a fifth of the run longer, and from the
    second on the learning rate five times smaller. With `half`, which is on where there is a GPU,
    steps compute in bfloat16; weights, and all that is measured, are float32. Everything that a
    step changes is in `snapshot`.
    """

    def __init__(
        self, model: Classifier, data: Samples, threat: ThreatModel, recipe: Recipe, *, seed: int
    ) -> None:
        """Split the data and copy the model; raises UserError for data too small to split."""
        self.threat, self.recipe, self.seed = threat, recipe, seed
        self.model, self.average = twin(model), twin(model)
        self.device = model.device
        self.half = self.device.type == "cuda"
        index = torch.arange(len(data))
        order = index[Draws.keyed(seed, index).at(_SPLIT).uniform(()).argsort(stable=True)]
        held = min(MOST_HELD, round(recipe.held * len(data)))
        if held < 1 or len(data) - held < 2:
            raise UserError(
                "enough pictures for training and validation",
                f"{len(data)} in {data.name}",
                "give a few hundred at least",
            )
        self.held, self.index = order[:held].to(self.device), order[held:].to(self.device)
        self.x, self.y = data.x.to(self.device), data.y.to(self.device)
        self.batch_size = min(recipe.batch_size, len(self.index))
        self.epoch_steps = recipe.replays * (len(self.index) // self.batch_size)
        self.others = tuple(ThreatModel.parse(one, model.bounds) for one in recipe.others)
        self.teacher = _settled(model) if takes(recipe.objective, "teacher") else None
        self.carried: dict[str, Tensor] = {}
        self.objective, self.falls, self.step = recipe.objective, 0, 0
        self.order = 0, self._ordered(0)
        weights = [one for one in self.model.module.parameters() if one.requires_grad]
        self.optimizer = _optimizer(weights, recipe)

    @property
    def progress(self) -> float:
        """How much of the run is done, in [0, 1]."""
        return self.step / (self.recipe.epochs * self.epoch_steps)

    @property
    def eps_share(self) -> float:
        """The share of eps that this step trains with."""
        longer = min(1.0, self.recipe.warm_up + 0.2 * self.falls)
        return self.recipe.model_copy(update={"warm_up": longer}).eps_share(self.progress)

    @property
    def threats(self) -> tuple[ThreatModel, ...]:
        """All that the model is to withstand."""
        return self.threat, *self.others

    @property
    def now(self) -> ThreatModel:
        """The threat that this step trains with."""
        return self.threat.with_eps(self.eps_share * float(self.threat.eps))

    @property
    def rate(self) -> float:
        """The learning rate of this step."""
        return self.recipe.rate(self.progress) / 5.0 ** max(0, self.falls - 1)

    def advance(self) -> Tensor:
        """One step of the optimiser; returns its loss, a number on the device."""
        module = self.model.module.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        minimised = objective(
            self.objective, smoothing=self.recipe.smoothing, teacher=self.teacher,
            others=self.others,
        )  # fmt: skip
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            loss = minimised(self.model, self._batch(), self.now).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.step += 1
        average_(self.average.module.state_dict(), module, decay=self.recipe.ema, step=self.step)
        return loss.detach()

    def pictures(self, index: Tensor) -> Batch:
        """Untouched pictures, to be measured on."""
        return Batch(self._pixels(index), self.y[index], index, self.seed, self.step)

    def probed(self) -> Batch:
        """The training pictures that probes look at: always the same."""
        few = max(64, min(PROBED, len(self.index) // 20))
        return self.pictures(self.index[:few])

    def snapshot(self) -> dict[str, Any]:
        """A copy of everything that a step changes, tensors and plain values only."""
        cuda = self.device.type == "cuda"
        return {
            "step": self.step,
            "module": copied(self.model.module),
            "average": copied(self.average.module),
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "carried": dict(self.carried),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device) if cuda else None,
        }

    def restore(self, kept: dict[str, Any]) -> None:
        """Go back to a snapshot."""
        self.step = kept["step"]
        self.model.module.load_state_dict(kept["module"])
        self.average.module.load_state_dict(kept["average"])
        self.optimizer.load_state_dict(copy.deepcopy(kept["optimizer"]))
        self.carried = {key: value.to(self.device) for key, value in kept["carried"].items()}
        torch.set_rng_state(kept["rng"])
        if kept["cuda_rng"] is not None:
            torch.cuda.set_rng_state(kept["cuda_rng"], self.device)

    def _batch(self) -> Batch:
        """The pictures of this step, moved and mirrored; epochs differ in order."""
        epoch, position = divmod(self.step, self.epoch_steps)
        if epoch != self.order[0]:
            self.order = epoch, self._ordered(epoch)
        first = position // self.recipe.replays * self.batch_size
        index = self.order[1][first : first + self.batch_size]
        drawn = Draws.keyed(self.seed, index).at(_PICTURES, epoch)
        x = shifted(self._pixels(index), drawn, self.recipe.shift)
        x = mirrored(x, drawn) if self.recipe.flip else x
        return Batch(
            x, self.y[index], index, self.seed, self.step, share=self.eps_share,
            carried=self.carried,
        )  # fmt: skip

    def _ordered(self, epoch: int) -> Tensor:
        """The training pictures in the order of one epoch."""
        draws = Draws.keyed(self.seed, self.index).at(_ORDER, epoch)
        return self.index[draws.uniform(()).argsort(stable=True)]

    def _pixels(self, index: Tensor) -> Tensor:
        x = self.x[index]
        return x.float() / 255 if x.dtype == torch.uint8 else x


def _optimizer(weights: Iterable[Tensor], recipe: Recipe) -> torch.optim.Optimizer:
    decay = recipe.weight_decay
    if recipe.optimizer == "adamw":
        betas = recipe.momentum, 0.999
        return torch.optim.AdamW(weights, recipe.lr, betas=betas, weight_decay=decay)
    return torch.optim.SGD(weights, recipe.lr, recipe.momentum, nesterov=True, weight_decay=decay)


def _settled(model: Classifier) -> Classifier:
    """A copy of a model that only answers."""
    other = twin(model)
    other.module.eval().requires_grad_(False)
    return other


def twin(model: Classifier) -> Classifier:
    """The same classifier with a module of its own, in float32 and with weights to be trained."""
    module = copy.deepcopy(model.module).float().requires_grad_(True)
    if model.device.type == "cuda":
        module = module.to(memory_format=torch.channels_last)
    return Classifier(
        module, preprocess=model.preprocess, bounds=model.bounds, name=model.name,
        source=model.source, classes=model.classes, device=model.device,
    )  # fmt: skip
