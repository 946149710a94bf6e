"""Auto-PGD: PGD that finds its own step size (Croce & Hein 2020, arXiv 2003.01690, algorithm 1).

The l1 form is that of Croce & Hein 2021 (arXiv 2103.01208, algorithm 1): sparse steps, exact
projection onto ball and box. APGD-T runs the targeted DLR loss against the most likely wrong
classes, one a restart.

Deviations: cross-entropy is replaced by the log odds, a monotone function of it whose gradient has
the same direction, so that every comparison and every step is the published one where
cross-entropy does not vanish. Kept as published: the first checkpoint counts one increase more
where the published loss is positive (the reference compares with a row of zeros).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Problem, State, begin, observe
from robustkit.attacks.parts.gradient import Look, averaged, glance
from robustkit.goal import Goal, rivals
from robustkit.losses import LOSSES, Loss
from robustkit.norms import spread

MOMENTUM = 0.75
RHO = 0.75
ENTROPIC = ("log-odds", "cross-entropy")


class Memory(NamedTuple):
    """What APGD remembers of each sample.

    `best*` is the point of the highest loss so far; `length` the step size; `period` the steps
    between checkpoints, `since` those since the last one, `rises` how many raised the loss;
    `then` and `halved` are the best loss and the decision at the last checkpoint. `share` and
    `sparsity` belong to the l1 form; `target` is the class that APGD-T goes for.
    """

    last: Tensor
    best: Tensor
    best_gradient: Tensor
    best_loss: Tensor
    loss: Tensor
    length: Tensor
    period: Tensor
    since: Tensor
    rises: Tensor
    then: Tensor
    halved: Tensor
    share: Tensor
    sparsity: Tensor
    target: Tensor


def apgd(
    *,
    steps: int = 100,
    restarts: int = 1,
    loss: str = "log-odds",
    eot: int = 1,
    name: str = "apgd-ce",
) -> Attack:
    """APGD with any loss. Norms: linf, l2, l1. Published: 100 steps, one restart.

    >>> apgd().settings["rho"]
    0.75
    """
    return _apgd(name, LOSSES[loss], steps=steps, restarts=restarts, loss=loss, eot=eot)


def apgd_dlr(*, steps: int = 100, restarts: int = 1, eot: int = 1) -> Attack:
    """APGD with the difference-of-logits-ratio loss; with two classes it is the margin."""
    return apgd(steps=steps, restarts=restarts, loss="dlr", eot=eot, name="apgd-dlr")


def apgd_t(*, steps: int = 100, targets: int = 9, eot: int = 1) -> Attack:
    """APGD-T: the targeted DLR loss against the `targets` most likely wrong classes in turn.

    With fewer wrong classes than targets the last one is tried again from another start.
    """
    return _apgd("apgd-t", LOSSES["dlr"], steps=steps, restarts=targets, loss="dlr-t", eot=eot)


def _apgd(name: str, score: Loss, *, steps: int, restarts: int, loss: str, eot: int) -> Attack:
    targeted = loss == "dlr-t"
    first, least = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1)
    shorter = max(int(0.03 * steps), 1)

    def aimed(target: Tensor) -> Loss:
        if not targeted:
            return score
        return lambda logits, goal: score(logits, Goal(goal.y, target))

    def init(problem: Problem) -> State:
        x = _surface(problem)
        target = _target(problem) if targeted else problem.goal.label
        return begin(problem, x, _memory(problem, x, target, first))

    def step(problem: Problem, state: State) -> State:
        seen = averaged(aimed(state.memory[-1]), eot)(problem, state)
        state = observe(problem, state, seen.logits, seen.loss)
        memory = _note(state, seen, entropic=loss in ENTROPIC)
        memory, x, gradient = _checkpoint(problem, state, memory, seen, least, shorter)
        following = _move(problem, x, memory, gradient, state.t)
        return state._replace(x=following, t=state.t + 1, memory=memory._replace(last=x))

    def finish(problem: Problem, state: State) -> State:
        return observe(problem, state, *glance(problem, state.x, aimed(state.memory[-1])))

    settings = {
        "steps": steps, "restarts": restarts, "loss": loss, "eot": eot,
        "rho": RHO, "momentum": MOMENTUM, "step_size": "2 eps, adaptive",
    }  # fmt: skip
    return Attack(name, init, step, steps, finish, restarts, settings=settings)


def _surface(problem: Problem) -> Tensor:
    """The published start: a random direction stretched to the surface of the ball."""
    draws = problem.draws.at(problem.restart)
    shape = problem.x.shape[1:]
    norm = problem.threat.norm
    if norm.name == "linf":
        direction = 2 * draws.uniform(shape).to(problem.x) - 1
    else:
        direction = draws.normal(shape).to(problem.x)
    if norm.name == "l1":
        return problem.project(problem.x + direction)
    stretch = problem.eps / norm.size(direction)
    return problem.project(problem.x + direction * spread(stretch, direction))


def _target(problem: Problem) -> Tensor:
    """The class of this restart: the r-th most likely wrong one at the clean picture."""
    if problem.goal.target is not None:
        return problem.goal.target
    logits = rivals(problem.model(problem.x), problem.goal.y)
    rank = min(problem.restart, logits.shape[1] - 2)
    return logits.argsort(1, descending=True)[:, rank]


def _memory(problem: Problem, x: Tensor, target: Tensor, first: int) -> Memory:
    low = torch.full_like(problem.eps, -torch.inf)
    zero = torch.zeros_like(problem.eps)
    count = torch.zeros_like(target)
    sparse = problem.threat.norm_name == "l1"
    return Memory(
        last=x, best=x, best_gradient=torch.zeros_like(x), best_loss=low, loss=low,
        length=problem.eps * (1.0 if sparse else 2.0),
        period=count + first, since=count, rises=count,
        then=low, halved=torch.ones_like(zero, dtype=torch.bool),
        share=zero + 0.2, sparsity=zero + x[0].numel(), target=target,
    )  # fmt: skip


def _note(state: State, seen: Look, *, entropic: bool) -> Memory:
    """Count the steps and the rises, and keep the best point; the first look only begins."""
    memory = Memory(*state.memory)
    begun = state.t > 0
    better = seen.loss > memory.best_loss
    wide = spread(better, state.x)
    # The reference's first comparison is with a zero, which cross-entropy always exceeds.
    above = torch.ones_like(better) if entropic else seen.loss > 0
    rose = torch.where(state.t == 1, above, seen.loss > memory.loss)
    return memory._replace(
        best=torch.where(wide, state.x, memory.best),
        best_gradient=torch.where(wide, seen.gradient, memory.best_gradient),
        best_loss=torch.where(better, seen.loss, memory.best_loss),
        loss=seen.loss,
        since=memory.since + begun,
        rises=memory.rises + (begun & rose),
        then=torch.where(begun, memory.then, seen.loss),
    )


def _checkpoint(
    problem: Problem, state: State, memory: Memory, seen: Look, least: int, shorter: int
) -> tuple[Memory, Tensor, Tensor]:
    """At a checkpoint: shorten the step where it does not pay and go back to the best point."""
    due = memory.since == memory.period
    if problem.threat.norm_name == "l1":
        memory, back = _sparser(problem, memory, due)
    else:
        few = memory.rises <= RHO * memory.period
        stuck = ~memory.halved & (memory.then >= memory.best_loss)
        back = due & (few | stuck)
        memory = memory._replace(
            length=torch.where(back, memory.length / 2, memory.length),
            halved=torch.where(due, back, memory.halved),
            then=torch.where(due, memory.best_loss, memory.then),
            period=torch.where(due, (memory.period - shorter).clamp_min(least), memory.period),
        )
    memory = memory._replace(
        since=torch.where(due, 0, memory.since), rises=torch.where(due, 0, memory.rises)
    )
    wide = spread(back, state.x)
    x = torch.where(wide, memory.best, state.x)
    return memory, x, torch.where(wide, memory.best_gradient, seen.gradient)


def _sparser(problem: Problem, memory: Memory, due: Tensor) -> tuple[Memory, Tensor]:
    """The l1 form's checkpoint: sparser steps while the best perturbation gets sparser."""
    delta = memory.best - problem.x
    count = (delta.abs() > 1e-6).flatten(1).sum(1).to(delta)
    back = due & (count / memory.sparsity < 0.95)
    longest = problem.eps
    shrunk = torch.where(back, longest, memory.length / 1.5).clamp(longest / 10, longest)
    return memory._replace(
        share=torch.where(due, count / delta[0].numel() / 1.5, memory.share),
        sparsity=torch.where(due, count, memory.sparsity).clamp_min(1),
        length=torch.where(due, shrunk, memory.length),
    ), back


def _move(problem: Problem, x: Tensor, memory: Memory, gradient: Tensor, t: Tensor) -> Tensor:
    """One step of the current length; from the second on with momentum (eq. 2)."""
    norm = problem.threat.norm
    if norm.name == "l1":
        return problem.project(x + _sparse_step(gradient, memory))
    ahead = problem.project(x + norm.steepest(gradient, memory.length, None))
    pulled = x + MOMENTUM * (ahead - x) + (1 - MOMENTUM) * (x - memory.last)
    return torch.where(spread(t > 0, x), problem.project(pulled), ahead)


def _sparse_step(gradient: Tensor, memory: Memory) -> Tensor:
    """Equal steps on the share of pixels with the largest gradients, of l1 size `length`."""
    flat = gradient.flatten(1).abs()
    numbers = flat.shape[1]
    rank = ((1 - memory.share) * numbers).clamp(0, numbers - 1).long()
    threshold = flat.sort(1).values.gather(1, rank[:, None])
    sign = (gradient.flatten(1) * (flat >= threshold)).sign()
    size = sign.abs().sum(1, keepdim=True).clamp_min(1)
    return (memory.length[:, None] * sign / size).reshape(gradient.shape)
