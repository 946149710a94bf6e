"""Several threats at once, on linear models whose worst points are known."""

from dataclasses import replace

import torch

from robustkit.defenses.training.assembly import cross_entropy
from robustkit.defenses.training.inner import steep, still
from robustkit.defenses.training.objectives import pgd_at
from robustkit.defenses.training.several import avg_at, e_at, max_at, msd
from robustkit.threat import ThreatModel
from tests.defenses.tiny import WEIGHT, grey, linear, normed, pictures

LINF, L2 = ThreatModel("linf", 0.1), ThreatModel("l2", 0.25)
SIGN, UNIT = WEIGHT[0].sign(), WEIGHT[0] / WEIGHT[0].norm()
# The model's margin falls by 0.1 |w|_1 = 0.65 under linf and by 0.25 |w|_2 = 0.94 under l2. Where
# the two end, pixels differ by up to 0.1; ten steps in l2 come within 0.04 of its end.
WORST = torch.stack((-0.25 * UNIT, 0.25 * UNIT)).view(2, 1, 2, 2)


def test_the_threat_that_hurts_most_is_trained_against() -> None:
    model, batch = linear(), grey()
    x_adv = max_at(others=(L2,)).pictures(model, batch, LINF)
    torch.testing.assert_close(x_adv - batch.x, WORST, atol=0.04, rtol=0)
    small = max_at(others=(L2.with_eps(0.1),)).pictures(model, batch, LINF)
    expected = 0.1 * torch.stack((-SIGN, SIGN)).view(2, 1, 2, 2)
    torch.testing.assert_close(small - batch.x, expected)


def test_steps_of_all_threats_end_at_the_worst_of_them() -> None:
    model, batch = linear(), grey()
    x_adv = msd(others=(L2,)).pictures(model, batch, LINF)
    torch.testing.assert_close(x_adv - batch.x, WORST, atol=0.04, rtol=0)
    normal, drawn = normed(), pictures()
    x_adv = msd(others=(L2,)).pictures(normal, drawn, LINF)
    inside = [one.violation(x_adv, drawn.x) == 0 for one in (LINF, L2)]
    assert bool((inside[0] | inside[1]).all())


def test_the_average_is_that_of_the_losses() -> None:
    model, batch = normed(), pictures()
    model.module.eval()
    loss = avg_at(others=(L2,))(model, batch, LINF)
    attack = steep(steps=10, length=0.25)
    with still(model, batch_statistics=True):
        found = [attack(model, batch, one) for one in (LINF, L2)]
    parts = [cross_entropy(model(x_adv), batch.y) for x_adv in found]
    torch.testing.assert_close(loss, (parts[0] + parts[1]) / 2)


def test_other_threats_grow_with_the_first() -> None:
    model, batch = linear(), replace(grey(), share=0.5)
    x_adv = max_at(others=(L2,)).pictures(model, batch, LINF.with_eps(0.05))
    torch.testing.assert_close(x_adv - batch.x, WORST / 2, atol=0.02, rtol=0)


def test_a_threat_is_drawn_by_how_often_it_fools() -> None:
    model, drawn = normed(), [0, 0]
    l1 = ThreatModel("l1", 0.5)
    for step in range(40):
        batch = replace(pictures(), step=step, carried={"errors": torch.tensor([1.0, 3.0])})
        e_at(others=(L2, l1), steps=1)(model, batch, LINF)
        changed = batch.carried["errors"] != torch.tensor([1.0, 3.0])
        assert int(changed.sum()) == 1
        drawn[int(changed[1])] += 1
    assert 22 <= drawn[1] <= 37
    batch = replace(grey(), carried={"errors": torch.tensor([0.0, 1.0])})
    e_at(others=(l1.with_eps(0.0),))(linear(), batch, LINF)
    # One of two grey pictures is of the wrong class at the start, and stays so without a budget.
    torch.testing.assert_close(batch.carried["errors"], torch.tensor([0.0, 0.95]))


def test_without_other_threats_all_are_pgd() -> None:
    model, batch = normed(), pictures()
    model.module.eval()
    expected = pgd_at()(model, batch, LINF)
    for build in (max_at, avg_at, e_at):
        torch.testing.assert_close(build()(model, batch, LINF), expected)
