"""Feature matching: look to the model like a clean picture of another class.

Sabour et al. 2016 (arXiv 1511.05122); against detectors Tramer et al. 2020 (arXiv 2002.08347): what
is inside the model as for a clean picture is judged as one, whatever the score is made of, and no
weight between two goals has to be found. A source is a picture of the samples at hand that the
model gets right and does not turn away; restart r takes the r-th nearest of another class.
Deviations: momentum and a cosine for the step, where Sabour et al. use L-BFGS; the best point of
the whole path counts, by margin; without a source the margin takes the distance's place.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robustkit.attacks.attack import Attack, Block, Problem, State, begin, observe
from robustkit.attacks.parts.climb import ascent, last_look
from robustkit.attacks.parts.momentum import unit_mean
from robustkit.attacks.parts.schedule import cosine
from robustkit.errors import UserError
from robustkit.goal import Goal
from robustkit.losses import margin
from robustkit.model import Classifier
from robustkit.norms import TINY

MATCHED = ("features", "logits")
DECAY = 0.75
FIRST, LAST = 0.25, 0.0025
"""The length of the first and the last step, as a share of eps."""


class Sources(NamedTuple):
    """Clean pictures as the model sees them `[M,D]`, their classes `[M]`, and which may be used."""

    seen: Tensor
    label: Tensor
    usable: Tensor


class Memory(NamedTuple):
    """What is to be looked like `[B,D]`, its squared distance at first (inf: none), momentum."""

    wanted: Tensor
    far: Tensor
    momentum: Tensor


def feature_matching(
    *,
    steps: int = 100,
    step_size: float | None = None,
    restarts: int = 1,
    match: str = "features",
    eot: int = 1,
) -> Attack:
    """PGD towards what the model makes of a clean source of another class (or of the target).

    `match` "features" is what goes into the last linear layer, where there is one, "logits" all
    that the model answers, its readiness to abstain included. `step_size` is in pixel units;
    without it, 0.25 eps at first. `eot` averages that many looks a step. Norms: linf, l2, l1.

    >>> feature_matching(match="logits").settings["match"]
    'logits'
    """
    if match not in MATCHED:
        raise UserError(f"one of {', '.join(MATCHED)}", repr(match), "write match=logits")

    def prepare(block: Block) -> Attack:
        """Look at all samples as sources."""
        sources = _gathered(block, match)
        return replace(attack, init=lambda problem: start(problem, sources), prepare=None)

    def init(problem: Problem) -> State:
        """Begin with the batch itself for sources."""
        return start(problem, _sources(problem.model, problem.x, problem.goal, match))

    def start(problem: Problem, sources: Sources) -> State:
        """Choose a source for every sample."""
        seen = _seen(problem.model, problem.x, problem.goal, match)[1]
        wanted, far = _chosen(seen, sources, problem)
        return begin(
            problem, problem.random_start(), Memory(wanted, far, torch.zeros_like(problem.x))
        )

    def step(problem: Problem, state: State) -> State:
        """Look, note, and go where the distance falls."""
        wanted, far, momentum = state.memory
        looks = [_look(problem, state.x, wanted, far, match) for _ in range(eot)]
        logits, gradient = (sum(parts) / eot for parts in zip(*looks, strict=True))
        state = observe(problem, state, logits, margin(logits, problem.goal))
        momentum = DECAY * momentum + unit_mean(gradient)
        length = problem.eps * cosine(state.t, steps, FIRST, LAST)
        if step_size is not None:
            length = torch.full_like(length, step_size)
        x = problem.project(state.x + ascent(problem, state.x, momentum, length))
        return state._replace(x=x, t=state.t + 1, memory=Memory(wanted, far, momentum))

    settings = {
        "steps": steps, "restarts": restarts, "match": match, "eot": eot,
        "step_size": "eps/4, falling" if step_size is None else step_size,
    }  # fmt: skip
    attack = Attack(
        "feature-matching", init, step, steps,
        lambda problem, state: last_look(problem, state, margin), restarts, settings=settings,
        prepare=prepare,
    )  # fmt: skip
    return attack


def _look(
    problem: Problem, x: Tensor, wanted: Tensor, far: Tensor, match: str
) -> tuple[Tensor, Tensor]:
    """Logits, and the gradient of minus the distance; of the margin where there is no source."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits, seen = _seen(problem.model, x, problem.goal, match)
        near = -(seen - wanted).square().sum(1) / far
        value = torch.where(far.isfinite(), near, margin(logits, problem.goal))
        gradient = problem.model.gradient(value, x)
    return logits.detach(), gradient


def _chosen(seen: Tensor, sources: Sources, problem: Problem) -> tuple[Tensor, Tensor]:
    """Each sample's source for this restart `[B,D]`, and how far it is, squared `[B]`."""
    goal = problem.goal
    label = sources.label[None]
    other = label != goal.y[:, None] if goal.target is None else label == goal.target[:, None]
    apart = torch.cdist(seen, sources.seen).masked_fill(~(other & sources.usable), torch.inf)
    order = apart.sort(1)
    # With fewer sources than restarts the farthest one is taken again, from another start.
    count = order.values.isfinite().sum(1, keepdim=True)
    rank = (count - 1).clamp(0, problem.restart)
    index = order.indices.gather(1, rank).squeeze(1)
    wanted = sources.seen[index]
    far = (seen - wanted).square().sum(1).clamp_min(TINY)
    return wanted, far.masked_fill(count.squeeze(1) == 0, torch.inf)


def _gathered(block: Block, match: str) -> Sources:
    """All samples of a block as sources, on the model's device."""
    device, parts = block.model.device, []
    for rows in torch.arange(len(block.x)).split(block.batch_size):
        goal = block.goal.take(rows).to(device)
        parts.append(_sources(block.model, block.x[rows].to(device), goal, match))
    return Sources(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _sources(model: Classifier, x: Tensor, goal: Goal, match: str) -> Sources:
    """Pictures as sources: those that get their label, and not silence, may be used."""
    logits, seen = _seen(model, x, goal, match)
    usable = (logits.argmax(1) == goal.y) & seen.isfinite().all(1)
    return Sources(seen.nan_to_num(0.0, 0.0, 0.0), goal.y, usable)


def _seen(model: Classifier, x: Tensor, goal: Goal, match: str) -> tuple[Tensor, Tensor]:
    """The logits of `x`, and what is matched, `[B,D]`."""
    with _layers(model) as ran:
        logits = model(x)
    classes = logits.shape[1] if goal.abstain is None else goal.abstain
    last = [given for given, answer in ran if answer.shape[1:] == (classes,)]
    if match == "features" and last:
        return logits, last[-1].flatten(1).float()
    # Only differences of logits mean anything.
    return logits, logits - logits.mean(1, keepdim=True)


@contextmanager
def _layers(model: Classifier) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """What goes into the linear layers and comes out of them, in the order in which they run.

    The first time counts: a detector may run the model again, on other pictures.
    """
    ran: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    shown: list[tuple[Tensor, Tensor]] = []

    def keep(layer: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> None:
        """Note a layer that runs for the first time."""
        ran.setdefault(layer, (given[0], answer))

    linear = [part for part in model.module.modules() if isinstance(part, nn.Linear)]
    hooks = [layer.register_forward_hook(keep) for layer in linear]
    try:
        yield shown
    finally:
        for hook in hooks:
            hook.remove()
        shown += ran.values()
