"""From budgets to minimum norms: any fixed-budget attack, with the budget bisected for each sample.

The budget doubles until the attack succeeds, then it is halved between what was too little and the
size of the smallest success; every sample has a budget of its own. The other way needs no code: a
minimum-norm attack answers a budget as soon as its success is measured against it.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from robustkit.attacks.apgd import apgd_t
from robustkit.attacks.attack import Attack, Problem, State, begin, choose_rows
from robustkit.attacks.parts.reach import farthest
from robustkit.attacks.pgd import pgd
from robustkit.norms import spread

# The first budget, as a share of the farthest picture's distance.
FIRST = 1 / 64


class Memory(NamedTuple):
    """The attack's own state, the budget it has now, the largest that failed, rounds over."""

    inner: State
    eps: Tensor
    failed: Tensor
    rounds: Tensor


def bisected(attack: Attack, *, rounds: int = 10) -> Attack:
    """A minimum-norm attack that runs a fixed-budget `attack` for `rounds` budgets, each anew.

    A round ends with the first success or with the attack's last step; one more step then takes
    the last look, so that an attack's `finish` is not used. Restarts are those of the attack.

    >>> from robustkit.attacks.pgd import pgd
    >>> bisected(pgd(steps=20), rounds=10).steps
    210
    """
    steps = rounds * (attack.steps + 1)

    def posed(problem: Problem, eps: Tensor, over: Tensor) -> Problem:
        """The problem with the budgets `eps`, drawn anew."""
        return problem._replace(draws=problem.draws.at(over)).with_eps(eps)

    def init(problem: Problem) -> State:
        """Where a sample begins."""
        eps = farthest(problem) * FIRST
        none = torch.zeros_like(problem.goal.y)
        inner = attack.init(posed(problem, eps, none))
        return begin(problem, inner.x, Memory(inner, eps, torch.zeros_like(eps), none))

    def step(problem: Problem, state: State) -> State:
        """One step of every sample."""
        inner, eps, failed, done = state.memory
        inner = attack.step(posed(problem, eps, done), inner)
        state = _keep(problem, state, inner)
        over = inner.fooled | (inner.t > attack.steps)
        failed = torch.where(over & ~inner.fooled, eps, failed)
        following = torch.where(state.fooled, (failed + state.size) / 2, eps * 2)
        eps = torch.where(over, torch.minimum(following, farthest(problem)), eps)
        done = done + over
        inner = choose_rows(over, attack.init(posed(problem, eps, done)), inner)
        return state._replace(
            x=inner.x,
            t=torch.where(done >= rounds, steps, state.t + 1),
            memory=Memory(inner, eps, failed, done),
        )

    return Attack(
        f"min-{attack.name}", init, step, steps, restarts=attack.restarts, minimum_norm=True,
        gradient=attack.gradient, settings={**attack.settings, "rounds": rounds},
    )  # fmt: skip


def _keep(problem: Problem, state: State, inner: State) -> State:
    """Note the inner attack's success if it is smaller than those before."""
    size = problem.threat.size(inner.x_adv, problem.x)
    better = inner.fooled & (size < state.size)
    return state._replace(
        x_adv=torch.where(spread(better, inner.x_adv), inner.x_adv, state.x_adv),
        loss=torch.where(better, inner.loss, state.loss),
        size=torch.where(better, size, state.size),
        fooled=state.fooled | inner.fooled,
    )


def min_pgd(*, steps: int = 20, rounds: int = 10, loss: str = "margin") -> Attack:
    """PGD's minimum norms, in linf, l2 and l1.

    The margin points straight at the boundary, where the log odds follow all classes at once.
    """
    return bisected(pgd(steps=steps, loss=loss), rounds=rounds)


def min_apgd_t(*, steps: int = 100, rounds: int = 10, targets: int = 9) -> Attack:
    """The minimum norms of targeted APGD, in linf, l2 and l1: the smallest over `targets`."""
    return bisected(apgd_t(steps=steps, targets=targets), rounds=rounds)
