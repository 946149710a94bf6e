"""A sample that is finished may be stepped on: outside the engine nobody takes it away."""

import pytest
import torch

from robustkit.attacks import build
from robustkit.attacks.attack import pose, unrolled
from tests.contract.cases import NEAREST, info, quick, task

LONGER = {"carlini-wagner": "steps=800,rounds=80", "ead": "steps=240,rounds=8,weight=0.01"}
"""So that some samples end their search early, and are stepped on for long."""


@pytest.mark.parametrize("name", sorted({name for name, _ in NEAREST}))
def test_what_is_found_stays_whole_when_stepped_on(name: str) -> None:
    work = task(info(name).norms[0])
    attack = build(f"{name}:{LONGER[name]}") if name in LONGER else quick(name)
    with work.model.frozen(), torch.set_grad_enabled(attack.gradient):
        problem = pose(work.model, work.x, work.goal, work.threat, index=work.index)
        found = unrolled(attack, problem)
        state = found
        for _ in range(3):
            state = attack.step(problem, state)
    assert state.x.isfinite().all()
    assert state.x_adv.isfinite().all()
    size = work.threat.size(state.x_adv, work.x)[state.fooled]
    torch.testing.assert_close(size, state.size[state.fooled])
    assert found.fooled.any()
    assert (state.size <= found.size).all()
