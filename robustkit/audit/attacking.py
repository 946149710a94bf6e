"""One attack on one batch of pictures, judged: the API's `attack` and the audit's unit of work."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustkit.attacks import build, info
from robustkit.attacks.attack import Attack
from robustkit.attacks.viewed import SURROGATE, no_surrogate
from robustkit.audit.device import choose_batch_size, halving
from robustkit.audit.engine import Engine, Outcome, Task
from robustkit.audit.referee import Ruling, retraced, rule
from robustkit.errors import UserError
from robustkit.goal import Goal
from robustkit.loading import load
from robustkit.model import Classifier
from robustkit.threat import ThreatModel


@dataclass(frozen=True)
class Result:
    """What an attack did to each sample; every tensor `[B]` but `x_adv`, `[B,C,H,W]`.

    `fooled` is the referee's verdict. `size` is in the threat's norm, `queries` counts forwards.
    """

    x_adv: Tensor
    fooled: Tensor
    prediction: Tensor
    confidence: Tensor
    size: Tensor
    queries: Tensor
    lost: Tensor
    eight_bit: Tensor
    forwards: int
    backwards: int
    seconds: float
    batch_size: int
    complete: bool


def attack(  # noqa: PLR0913 - the five that a caller thinks of come first
    attack: Attack | str,
    model: Classifier | nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel | str,
    *,
    target: Tensor | None = None,
    seed: int = 0,
    batch_size: int | None = None,
) -> Result:
    """Attack pictures `x` `[B,C,H,W]` in [0, 1] with labels `y` `[B]`; every claim re-verified.

    Pictures that the model gets wrong are attacked too: leave them out if they should not be.
    Raises UserError for labels or targets out of range, for pictures outside the bounds, and for a
    named attack that is made for other norms.

    >>> from robustkit.zoo import load_model, load_samples
    >>> model, samples = load_model("digits-standard"), load_samples("digits").take(4)
    >>> result = attack("pgd:steps=5", model, samples.pixels(slice(0, 4)), samples.y, "linf:0.3")
    >>> result.x_adv.shape, bool((result.size <= 0.3 + 1e-6).all())
    (torch.Size([4, 1, 8, 8]), True)
    """
    chosen = build(attack) if isinstance(attack, str) else attack
    model = model if isinstance(model, Classifier) else load(model)
    threat = ThreatModel.parse(threat, model.bounds) if isinstance(threat, str) else threat
    if isinstance(attack, str):
        check_norm(attack, threat)
    _check(x, y, target, threat)
    _check_threat(threat, x)
    if batch_size is not None and batch_size < 1:
        raise UserError("a batch size >= 1", str(batch_size), "leave it away to have it chosen")
    x = x.detach().float().cpu()
    _check_labels(model, x, y, target)
    aim = None if target is None else target.cpu().long()
    host = Goal(y.cpu().long(), aim, model.abstain)
    task = Task(model, x, host, threat, torch.arange(len(x)))
    with model.frozen(seed):
        return judged(chosen, task, Engine(seed=seed, batch_size=batch_size or 0))


def judged(attack: Attack, task: Task, engine: Engine) -> Result:
    """Run an attack and let the referee judge it; out of memory halves the batch.

    An engine with batch size 0 chooses one for the device. The model must be frozen.
    """
    check_access(attack, task.model)
    size = engine.batch_size or choose_batch_size(task.model.device, task.x[0].numel())

    def run(batch_size: int) -> tuple[Outcome, Ruling]:
        """The attack and its rulings, with batches of this size."""
        outcome = engine.with_batch_size(batch_size).run(attack, task)
        ruling = rule(
            task.model, outcome.x_adv, x=task.x, goal=task.goal, threat=task.threat,
            claimed=outcome.fooled & ~beyond_budget(outcome, task), batch_size=batch_size,
        )  # fmt: skip
        return outcome, retraced(
            ruling, outcome.x_adv, outcome.made,
            model=task.model, x=task.x, threat=task.threat, batch_size=batch_size,
        )  # fmt: skip

    (outcome, ruling), used = halving(run, size)
    return Result(
        outcome.x_adv, ruling.fooled, ruling.prediction, ruling.confidence, ruling.size,
        outcome.queries, ruling.lost, ruling.eight_bit, outcome.forwards, outcome.backwards,
        outcome.seconds, used, outcome.complete,
    )  # fmt: skip


def check_access(attack: Attack, model: Classifier) -> None:
    """Refuse to run an attack that follows gradients against a model that gives none."""
    view = attack.settings.get("view")
    if view == SURROGATE:
        if model.surrogate is None:
            raise no_surrogate()
        return
    if view is not None and view not in model.views:
        raise UserError(
            f"a view of {model.name}: {', '.join(model.views) or 'it has none'}",
            repr(view),
            "name one of them, or attack the model itself; defended models have views",
        )
    if attack.gradient and model.access != "white-box":
        raise UserError(
            f"an attack that needs no gradient, as {model.name} gives none",
            attack.name,
            "write --suite blackbox or --attack square; see robustkit list attacks",
        )


def beyond_budget(outcome: Outcome, task: Task) -> Tensor:
    """Minimum-norm successes that are larger than the budget: no claim at all."""
    return outcome.size.isfinite() & (task.threat.violation(outcome.x_adv, task.x) > 0)


def check_norm(attack: str, threat: ThreatModel) -> None:
    """Refuse a named attack that is made for other norms than that of the threat."""
    row = info(attack)
    if threat.norm_name not in row.norms:
        raise UserError(
            f"an attack for {threat.norm_name}",
            f"{row.name}, which is for {', '.join(row.norms)}",
            "see robustkit list attacks, or choose another --threat",
        )


def _check(x: Tensor, y: Tensor, target: Tensor | None, threat: ThreatModel) -> None:
    """Refuse what cannot be attacked."""
    if not isinstance(x, Tensor) or x.dim() != 4 or not x.is_floating_point() or not len(x):
        raise UserError(
            "a tensor of pictures [B,C,H,W] as floats, at least one",
            _shown(x),
            "divide 8-bit pictures by 255 and add the dimensions that are missing",
        )
    low, high = threat.bounds
    darkest, brightest = (float(end) for end in x.detach().aminmax())
    if not (darkest >= low and brightest <= high):
        raise UserError(
            f"pixels in [{low:g}, {high:g}]",
            f"values from {darkest:g} to {brightest:g}",
            "undo the normalisation: the model's preprocess does it",
        )
    for name, labels in (("labels", y), ("targets", target)):
        if labels is not None and not _one_each(labels, len(x)):
            raise UserError(
                f"{name} as a tensor of {len(x)} integers, one a picture",
                _shown(labels),
                "write torch.tensor([...]); of one-hot rows take argmax(1)",
            )
    if target is not None and bool((target.cpu() == y.cpu()).any()):
        raise UserError("targets that are not the true label", "some that are", "choose others")


def _check_threat(threat: ThreatModel, x: Tensor) -> None:
    """Refuse budgets and masks that do not belong to these pictures."""
    eps, mask = threat.eps, threat.mask
    if isinstance(eps, Tensor) and eps.dim() and eps.shape != (len(x),):
        raise UserError(
            f"one budget, or {len(x)}, one a picture", _shown(eps), "give eps as a float or [B]"
        )
    if mask is None:
        return
    pairs = zip(mask.shape[::-1], x.shape[::-1], strict=False)
    if mask.dim() > x.dim() or any(own not in (1, full) for own, full in pairs):
        raise UserError(
            f"a mask that broadcasts to {tuple(x.shape)}", _shown(mask), "give it as [H,W]"
        )


def _one_each(labels: Tensor, count: int) -> bool:
    """Whether these are whole numbers, one a picture."""
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.is_complex():
        return False
    return labels.dtype != torch.bool and labels.shape == (count,)


def _shown(value: object) -> str:
    """What came instead, in few words."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {value.dtype}"
    return f"a {type(value).__name__}"


def _check_labels(model: Classifier, x: Tensor, y: Tensor, target: Tensor | None) -> None:
    """Refuse labels that the model has no output for, which one picture tells; not counted."""
    before = model.forwards
    with model.frozen(), torch.no_grad():
        classes = model(x[:1].to(model.device))[:, : model.abstain].shape[1]
    model.forwards = before
    for name, labels in (("labels", y), ("targets", target)):
        if labels is not None and not (int(labels.min()) >= 0 and int(labels.max()) < classes):
            raise UserError(
                f"{name} from 0 to {classes - 1}, as {model.name} has {classes} classes",
                f"{int(labels.min())} to {int(labels.max())}",
                "number the classes as the model does, from 0 on",
            )
