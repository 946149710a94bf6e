"""SPSA: Adam on gradients estimated from random signs.

Uesato et al. 2018, arXiv 1802.05666, algorithm 1 with the margin loss. Deviation: probes stay
inside the bounds.
"""

from torch import Tensor

from robustkit.attacks.attack import Attack, Problem, State
from robustkit.attacks.parts.adam import Moments, adam
from robustkit.attacks.parts.momentum import Direction, Memory
from robustkit.attacks.parts.probing import probing, steps_within
from robustkit.draws import Draws


def spsa(
    *,
    queries: int = 10000,
    samples: int = 128,
    step_size: float = 0.01,
    radius: float = 0.01,
    loss: str = "margin",
) -> Attack:
    """SPSA in linf and l2: `samples` queries an estimate, `radius` away in every pixel.

    `queries` is a hard budget a sample, looks at the points themselves included.

    >>> spsa(queries=1000).steps * 129 + 1 <= 1000
    True
    """
    steps = steps_within(queries, samples)

    def turn(problem: Problem, state: State, gradient: Tensor) -> tuple[Tensor, Memory]:
        """The step that the estimated gradient asks for."""
        moments, mean, scale = adam(Moments(*state.memory), gradient, state.t)
        return step_size * mean / scale, moments

    settings = {
        "queries": queries, "samples": samples, "step_size": step_size, "radius": radius,
        "loss": loss,
    }  # fmt: skip
    direction = Direction(Moments.zero, turn)
    return probing("spsa", noise=Draws.signs, direction=direction, steps=steps, settings=settings)
