"""One perturbation for all pictures.

Moosavi-Dezfooli et al. 2017, arXiv 1610.08401, in the stochastic gradient form of Shafahi et al.
2020, arXiv 1811.11304 (algorithm 2), which needs one look at each picture an epoch instead of one
walk to the boundary. As a row of the catalogue it is prepared on all samples of a block and then
applied to each of them. Deviations: the loss is the margin, clipped where a picture is fooled by
`ENOUGH` already (the paper clips cross-entropy); every norm has its own steepest step; the best
epoch counts, not the last.
"""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Block, Problem, State, begin, observe
from robustkit.attacks.parts.gradient import glance
from robustkit.goal import Goal
from robustkit.losses import margin
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

# A picture that is fooled by this share of the mean margin of clean pictures pulls no more.
ENOUGH = 0.5


class Universal(NamedTuple):
    """The shared perturbation `delta` `[1,C,H,W]`, and whom it fools, `[N]`."""

    delta: Tensor
    fooled: Tensor

    def apply(self, x: Tensor, threat: ThreatModel) -> Tensor:
        """The perturbed pictures, clipped to bounds and mask: each inside its threat model."""
        low, high = threat.box(x)
        return (x + self.delta.to(x).clamp(low, high)).clamp(*threat.bounds)


def universal(*, steps: int = 10) -> Attack:
    """One perturbation for all samples of a block, learnt in `steps` epochs; norms: linf, l2, l1.

    Each picture gets it within its own bounds, mask and budget. What is attacked without having
    been prepared is its own block.

    >>> universal(steps=5).steps
    1
    """

    def prepare(block: Block) -> Attack:
        """Learn the perturbation on all samples; what is left is to apply it."""
        device = block.model.device
        found = universal_perturbation(
            block.model, block.x.to(device), block.goal.to(device), block.threat, steps=steps,
            batch_size=block.batch_size, seed=block.seed,
        )  # fmt: skip
        return replace(attack, init=lambda problem: _applied(problem, found), prepare=None)

    def init(problem: Problem) -> State:
        """Learn on the batch itself."""
        block = Block(problem.model, problem.x, problem.goal, problem.threat, len(problem.x))
        return prepare(block).init(problem)

    def step(problem: Problem, state: State) -> State:
        """See whom it fools."""
        state = observe(problem, state, *glance(problem, state.x, margin))
        return state._replace(t=state.t + 1)

    attack = Attack("universal", init, step, 1, settings={"steps": steps}, prepare=prepare)
    return attack


def _applied(problem: Problem, found: Universal) -> State:
    """Every picture with the perturbation, at the start."""
    return begin(problem, problem.project(problem.x + found.delta))


def universal_perturbation(
    model: Classifier,
    x: Tensor,
    goal: Goal,
    threat: ThreatModel,
    *,
    steps: int = 10,
    batch_size: int = 64,
    seed: int = 0,
) -> Universal:
    """A perturbation within `threat` that fools as many of `x` `[N,C,H,W]` as possible.

    `steps` is the number of epochs; a batch moves the perturbation by eps / 4, less and less. The
    model must be frozen; of budgets that differ the largest counts. `x` and `goal` lie on the
    model's device.

    >>> from torch import nn
    >>> model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
    >>> x = torch.rand(8, 1, 2, 2)
    >>> goal = Goal(torch.zeros(8, dtype=torch.int64))
    >>> found = universal_perturbation(model, x, goal, ThreatModel("linf", 0.1), batch_size=4)
    >>> found.delta.shape, float(found.delta.abs().max()) <= 0.1 + 1e-6
    (torch.Size([1, 1, 2, 2]), True)
    """
    eps = threat.budget(x).amax()[None]
    wide = torch.full_like(x[:1], threat.bounds[1] - threat.bounds[0])
    generator = torch.Generator().manual_seed(seed)
    found = Universal(torch.zeros_like(x[:1]), torch.zeros_like(goal.y, dtype=torch.bool))
    logits = _answers(model, x, threat, found, batch_size)
    enough = ENOUGH * margin(logits, goal).abs().nan_to_num(0.0).mean()
    best = found._replace(fooled=goal.reached(logits))
    for epoch in range(steps):
        order = torch.randperm(len(x), generator=generator).to(x.device)
        for rows in order.split(batch_size):
            task = Block(model, x[rows], goal.take(rows), threat.take(rows))
            gradient = _pull(task, found, enough)
            length = eps / (4 * (epoch + 1))
            ahead = found.delta + threat.norm.steepest(gradient, length, None)
            found = found._replace(delta=threat.norm.project(ahead, eps, (-wide, wide)))
        logits = _answers(model, x, threat, found, batch_size)
        found = found._replace(fooled=goal.reached(logits))
        if found.fooled.sum() > best.fooled.sum():
            best = found
    return best


def _pull(block: Block, found: Universal, enough: Tensor) -> Tensor:
    """The gradient of the summed loss with respect to the perturbation, `[1,C,H,W]`.

    A picture has no say in pixels of its own that already are at the wall.
    """
    with torch.enable_grad():
        x_adv = found.apply(block.x, block.threat).detach().requires_grad_()
        loss = torch.minimum(margin(block.model(x_adv), block.goal), enough)
        gradient = block.model.gradient(loss, x_adv)
    low, high = block.threat.box(block.x)
    free = torch.where(gradient > 0, x_adv < block.x + high, x_adv > block.x + low)
    return (gradient * free).sum(0, keepdim=True).detach()


def _answers(
    model: Classifier, x: Tensor, threat: ThreatModel, found: Universal, batch_size: int
) -> Tensor:
    """What the model says of all perturbed pictures, `[N,K]`."""
    batches = torch.arange(len(x), device=x.device).split(batch_size)
    with torch.no_grad():
        parts = [model(found.apply(x[rows], threat.take(rows))) for rows in batches]
    return torch.cat(parts)
