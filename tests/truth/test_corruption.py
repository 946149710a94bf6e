"""Under corruption every kind is measured alone, and the worst of them is the worst."""

import pytest
import torch
from torch import Tensor, nn

from robustkit.attacks import build
from robustkit.attacks.cascades import suite
from robustkit.attacks.corruption import corruption_accuracy
from robustkit.audit.attacking import Result, attack
from robustkit.distortions.corruptions import COMMON, KINDS, corrupt
from robustkit.draws import Draws
from robustkit.errors import UserError
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

COUNT = 24


class Bright(nn.Module):
    """Class 1 where the mean is above one half."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.flatten(1).mean(1)
        return torch.stack((torch.full_like(mean, 0.5), mean), 1)


def flats() -> Tensor:
    """Grey pictures from 0.3 to 0.49, all of class 0."""
    return torch.linspace(0.3, 0.49, COUNT).reshape(-1, 1, 1, 1).expand(COUNT, 3, 32, 32).clone()


def attacked(text: str, severity: int) -> Result:
    y = torch.zeros(COUNT, dtype=torch.int64)
    return attack(text, Classifier(Bright()), flats(), y, f"corruption:{severity}")


def test_those_fall_whom_the_corruption_makes_bright_enough() -> None:
    for severity, more in ((1, 0.05), (3, 0.15)):
        result = attacked("corruption:kind=brightness", severity)
        assert torch.equal(result.fooled, flats()[:, 0, 0, 0] + more > 0.5)
        assert not result.lost.any()
        assert (result.size == severity).all()
        assert (result.queries == 1).all()


def test_the_worst_kind_fools_whom_any_kind_fools() -> None:
    """And the referee makes every picture again, whatever chance drew."""
    worst = attacked("corruption", 4)
    alone = [attacked(f"corruption:kind={kind}", 4) for kind in COMMON]
    assert not any(result.lost.any() for result in (worst, *alone))
    assert torch.equal(worst.fooled, torch.stack([one.fooled for one in alone]).any(0))
    assert worst.fooled.any()
    assert not worst.fooled.all()


def test_a_table_of_accuracies_is_exact() -> None:
    model, x, y = Classifier(Bright()), flats(), torch.zeros(COUNT, dtype=torch.int64)
    table = corruption_accuracy(model, x, y, kinds=("brightness", "jpeg", "saturate"), batch_size=7)
    assert table.clean == 1
    for severity, more in enumerate((0.05, 0.1, 0.15, 0.2, 0.3)):
        right = float((x[:, 0, 0, 0] + more <= 0.5).float().mean())
        assert float(table.accuracy[0, severity]) == pytest.approx(right)
    # A flat picture is a flat picture in any file, up to the last level.
    assert (table.accuracy[1] >= 1 - 1 / COUNT).all()
    assert table.mean == pytest.approx(float(table.accuracy.mean()))


def test_more_tries_draw_other_noise() -> None:
    few, many = (attacked(f"corruption:kind=snow,queries={n}", 1) for n in (1, 8))
    assert many.queries.max() == 8
    assert not (few.fooled & ~many.fooled).any()


def test_every_kind_can_be_made_again_by_the_referee() -> None:
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    threat = ThreatModel.parse("corruption:3")
    keys = Draws.keyed(5, torch.arange(4)).key
    for number, kind in enumerate(KINDS):
        made = torch.stack((torch.full_like(keys, number), torch.full_like(keys, 3), keys), 1)
        x_adv = corrupt(x, kind, 3, Draws(keys))
        assert threat.departure(x_adv, x, made).max() == 0
        other = made.clone()
        other[:, 1] = 4
        assert threat.departure(x_adv, x, other).min() > 0


def test_no_kind_meets_what_another_left_over() -> None:
    for name in ("quick", "standard", "blackbox"):
        chosen = suite(name, "corruption")
        assert not chosen.cascade
        assert len(chosen.attacks) == 15
    assert suite("standard", "linf").cascade


@pytest.mark.parametrize("text", ["corruption:0", "corruption:6", "corruption:2.5", "corruption:x"])
def test_a_severity_is_one_of_five(text: str) -> None:
    with pytest.raises(UserError, match="write for example"):
        ThreatModel.parse(text)
    with pytest.raises(UserError, match="fog"):
        build("corruption:kind=rain")
