"""NES: projected ascent on gradients that natural evolution strategies estimate.

Ilyas et al. 2018, arXiv 1804.08598, algorithm 1 with antithetic Gaussian samples. Deviations: the
step is 0.2 eps at first, as the published 0.01 is for its eps of 0.05, and falls along a cosine,
where the authors' code halves it on plateaus; probes stay inside the bounds.
"""

import torch
from torch import Tensor

from robustkit.attacks.attack import Attack, Problem, State
from robustkit.attacks.parts.momentum import Direction, Memory
from robustkit.attacks.parts.probing import probing, steps_within
from robustkit.attacks.parts.schedule import cosine
from robustkit.draws import Draws

DECAY = 0.9
FIRST, LAST = 0.2, 0.02


def nes(
    *, queries: int = 10000, samples: int = 50, radius: float = 0.001, loss: str = "log-odds"
) -> Attack:
    """NES in linf and l2: `samples` queries an estimate, at distance `radius` times normal noise.

    `queries` is a hard budget a sample, looks at the points themselves included.

    >>> nes(queries=1000).steps * 51 + 1 <= 1000
    True
    """
    steps = steps_within(queries, samples)

    def turn(problem: Problem, state: State, gradient: Tensor) -> tuple[Tensor, Memory]:
        """The step that the estimated gradient asks for."""
        mean = DECAY * state.memory[0] + (1 - DECAY) * gradient
        length = problem.eps * cosine(state.t, steps, FIRST, LAST)
        return problem.threat.norm.steepest(mean, length, None), (mean,)

    settings = {"queries": queries, "samples": samples, "radius": radius, "loss": loss}
    direction = Direction(lambda x: (torch.zeros_like(x),), turn)
    return probing("nes", noise=Draws.normal, direction=direction, steps=steps, settings=settings)
