"""Projected gradient descent and its sentences: FGSM, BIM, PGD.

Kurakin et al. 2016 (1607.02533), Madry et al. 2018 (1706.06083), Goodfellow et al. 2014
(1412.6572). Deviations: the loss is the log odds, which moves as cross-entropy does and does not
vanish when softmax saturates; the best point of the whole path counts, not the last; in l1 and l2
the last look is followed by one exact linear step, so that a linear model is solved exactly.
"""

from robustkit.attacks.attack import Attack, Problem, State, begin, observe
from robustkit.attacks.parts.climb import climb
from robustkit.attacks.parts.gradient import averaged, glance, look, smoothed
from robustkit.attacks.parts.stand_in import through
from robustkit.attacks.trades import NAME as TRADES
from robustkit.attacks.trades import climb_divergence
from robustkit.losses import LOSSES


def pgd(  # noqa: PLR0913 - the parts of the sentence, all keyword-only
    *,
    steps: int = 20,
    step_size: float | None = None,
    restarts: int = 1,
    random_start: bool = True,
    loss: str = "log-odds",
    eot: int = 1,
    sigma: float = 0.0,
    stand_in: bool = False,
    name: str = "pgd",
) -> Attack:
    """Steepest ascent with projection, from a random point of the threat model.

    `step_size` is in pixel units; without it, 2.5 eps / steps. `eot` averages that many looks a
    step, for models that draw random numbers; with `sigma`, looks at points with Gaussian noise of
    that deviation, for models whose loss is rough. `stand_in` gives rounding inside the model the
    gradient of the identity (BPDA). The loss `trades-kl` brings its own start and takes one look a
    step (`trades.py`). Norms: linf, l2, l1.

    >>> pgd(steps=40).steps
    40
    """
    settings = {
        "steps": steps, "step_size": step_size, "restarts": restarts,
        "random_start": random_start, "loss": loss, "eot": eot,
        "sigma": sigma, "stand_in": stand_in,
    }  # fmt: skip
    if loss == TRADES:
        return climb_divergence(name, settings)
    score = LOSSES[loss]
    source = smoothed(score, eot, sigma) if sigma else averaged(score, eot)
    source = through(source) if stand_in else source
    return climb(name, source, random_start=random_start, settings=settings)


def bim(*, steps: int = 10, step_size: float | None = None, loss: str = "log-odds") -> Attack:
    """The basic iterative method (Kurakin et al. 2016): PGD without a random start."""
    return pgd(steps=steps, step_size=step_size, random_start=False, loss=loss, name="bim")


def fgsm(*, loss: str = "log-odds") -> Attack:
    """The fast gradient sign method (Goodfellow et al. 2014), in every norm.

    One step to the exact maximiser of the linearised loss over ball and box: in linf the sign of
    the gradient times eps, in l2 the clipped gradient of length eps, in l1 the steepest pixels.
    """
    score = LOSSES[loss]

    def step(problem: Problem, state: State) -> State:
        """Look, and go to the maximiser of the linearised loss."""
        seen = look(problem, state.x, score)
        state = observe(problem, state, seen.logits, seen.loss)
        return state._replace(x=problem.steepest(seen.gradient), t=state.t + 1)

    def finish(problem: Problem, state: State) -> State:
        """Look there."""
        return observe(problem, state, *glance(problem, state.x, score))

    return Attack(
        "fgsm", lambda problem: begin(problem, problem.x), step, 1, finish, settings={"loss": loss}
    )
