"""A run of adversarial training: its state, one step of it, and how it is put back."""

import copy
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robustkit.defenses.training.augment import Album, Moves
from robustkit.defenses.training.average import Followed, average_, copied
from robustkit.defenses.training.inner import Batch
from robustkit.defenses.training.objectives import Objective, objective, takes
from robustkit.defenses.training.recipe import Recipe
from robustkit.draws import Draws
from robustkit.errors import UserError
from robustkit.loading.samples import Samples
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

MOST_HELD = 1000
PROBED = 256
_SPLIT, _ORDER, _PICTURES = 1, 2, 3


class Epoch(NamedTuple):
    """The training pictures in the order of one epoch, `[N]`, and how each is moved."""

    number: int
    order: Tensor
    moves: Moves


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
        """Split the data and copy the model.

        Raises UserError for data too small to split, and for a model that cannot be trained.
        """
        keep_freed_memory()
        self.threat, self.recipe, self.seed = threat, recipe, seed
        self.model, self.average = twin(_trainable(model)), twin(model)
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
        self.album = Album(data.x.to(self.device), recipe.shift)
        self.y = data.y.to(self.device)
        self.batch_size = min(recipe.batch_size, len(self.index))
        self.epoch_steps = recipe.replays * (len(self.index) // self.batch_size)
        self.others = tuple(ThreatModel.parse(one, model.bounds) for one in recipe.others)
        self.teacher = _settled(model) if takes(recipe.objective, "teacher") else None
        self.assembled: dict[str, Objective] = {}
        self.carried: dict[str, Tensor] = {}
        self.objective, self.falls, self.step = recipe.objective, 0, 0
        self.epoch = self._drawn(0)
        self.followed = Followed.of(self.average.module, self.model.module)
        self.weights = [one for one in self.model.module.parameters() if one.requires_grad]
        self.optimizer = _optimizer(self.weights, recipe)
        self.model.module.train()

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
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        minimised = self._minimised(self.objective)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            loss = minimised(self.model, self._batch(), self.now).mean()
        for weight in self.weights:
            weight.grad = None
        loss.backward()
        self.optimizer.step()
        self.step += 1
        average_(self.followed, decay=self.recipe.ema, step=self.step)
        return loss.detach()

    def pictures(self, index: Tensor) -> Batch:
        """Untouched pictures, to be measured on."""
        return Batch(self.album.taken(index), self.y[index], index, self.seed, self.step)

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

    def _minimised(self, name: str) -> Objective:
        """The objective of that name with this run's settings, put together once."""
        if name not in self.assembled:
            own = self.recipe.settings if name == self.recipe.objective else {}
            self.assembled[name] = objective(
                name, smoothing=self.recipe.smoothing, teacher=self.teacher, others=self.others,
                **own,
            )  # fmt: skip
        return self.assembled[name]

    def _batch(self) -> Batch:
        """The pictures of this step, moved and mirrored; epochs differ in order."""
        epoch, position = divmod(self.step, self.epoch_steps)
        if epoch != self.epoch.number:
            self.epoch = self._drawn(epoch)
        first = position // self.recipe.replays * self.batch_size
        rows = slice(first, first + self.batch_size)
        index = self.epoch.order[rows]
        x = self.album.taken(index, self.epoch.moves.part(rows))
        return Batch(
            x, self.y[index], index, self.seed, self.step, share=self.eps_share,
            carried=self.carried,
        )  # fmt: skip

    def _drawn(self, epoch: int) -> Epoch:
        """One epoch; all of its random numbers at once, which is cheaper than at every step."""
        draws = Draws.keyed(self.seed, self.index).at(_ORDER, epoch)
        index = self.index[draws.uniform(()).argsort(stable=True)]
        drawn = Draws.keyed(self.seed, index).at(_PICTURES, epoch)
        return Epoch(epoch, index, Moves.drawn(drawn, self.recipe.shift, flip=self.recipe.flip))


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, where it would give it back to the system.

    glibc gives back every block above a threshold, and a fourth of a step on the CPU then goes into
    getting it again. The threshold follows the largest block that was ever freed, up to 32 MB; this
    frees one of nearly that size.
    """
    torch.empty(31 << 20, dtype=torch.uint8)


def _optimizer(weights: Iterable[Tensor], recipe: Recipe) -> torch.optim.Optimizer:
    decay = recipe.weight_decay
    if recipe.optimizer == "adamw":
        betas = recipe.momentum, 0.999
        return torch.optim.AdamW(weights, recipe.lr, betas, weight_decay=decay, fused=True)
    return torch.optim.SGD(
        weights, recipe.lr, recipe.momentum, nesterov=True, weight_decay=decay, fused=True
    )


def _settled(model: Classifier) -> Classifier:
    """A copy of a model that only answers."""
    other = twin(model)
    other.module.eval().requires_grad_(False)
    return other


def twin(model: Classifier) -> Classifier:
    """The same classifier with a module of its own, in float32 and with weights to be trained.

    The views of a defended one are views of the copy: they see what it learns.
    """
    other = copy.deepcopy(model)
    other.sha256 = ""
    other.module.float().requires_grad_(True)
    if model.device.type == "cuda":
        other.module.to(memory_format=torch.channels_last)
    inside = [getattr(part, "model", None) for part in other.module.modules()]
    for one in (other, *other.views.values(), *inside):
        if isinstance(one, Classifier):
            one.dtype = torch.float32
    return other


def _trainable(model: Classifier) -> Classifier:
    """The model; raises UserError for one whose answers training cannot reach."""
    behind = "a detector" if model.abstain is not None else "a postprocessing"
    if model.abstain is None and "no-post" not in model.views:
        return model
    raise UserError(
        "a model, or a pipeline that ends with its model",
        f"{behind} behind {model.name}",
        "train without it, then put it behind the hardened model; a detector is fitted anew",
    )
