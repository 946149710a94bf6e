"""PatchCleanser against brute force: every patch at every place of tiny pictures."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from robustkit.defenses.patch_cleanser import LEAD, Cleanser, cleanser, mask_set
from robustkit.defenses.training.inner import Batch
from robustkit.defenses.training.masking import two_masks
from robustkit.errors import UserError
from robustkit.model import Classifier
from robustkit.threat import ThreatModel


@pytest.mark.parametrize("high", [4, 7, 28])
@pytest.mark.parametrize("masks", [2, 3, 6])
def test_every_patch_lies_under_a_mask(high: int, masks: int) -> None:
    like = torch.zeros(1, 1, high, high + 1)
    for height, width in itertools.product((1, 2, 3), (1, 3, 4)):
        hidden = mask_set(like, ThreatModel.parse(f"patch:{height}x{width}"), masks=masks)
        assert len(hidden) <= masks**2
        for top, left in itertools.product(range(high - height + 1), range(high + 2 - width)):
            spot = torch.zeros_like(like, dtype=torch.bool)
            spot[:, :, top : top + height, left : left + width] = True
            assert bool((hidden | ~spot).flatten(1).all(1).any())


def network(seed: int, channels: int = 1) -> Classifier:
    """A small network with some memory of places, so that masks matter now and then."""
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(channels, 6, 2), nn.ReLU(), nn.Flatten(), nn.Linear(54, 3)
    ).requires_grad_(False)
    return Classifier(module.eval())


def attacked(x: Tensor, side: int, values: tuple[float, ...]) -> Tensor:
    """Every picture that a patch of `values` can make of `x` `[1,C,4,4]`."""
    cells = x.shape[1] * side * side
    patterns = torch.tensor(list(itertools.product(values, repeat=cells)))
    made = []
    for top, left in itertools.product(range(5 - side), repeat=2):
        pictures = x.repeat(len(patterns), 1, 1, 1)
        pictures[:, :, top : top + side, left : left + side] = patterns.view(
            -1, x.shape[1], side, side
        )
        made.append(pictures)
    return torch.cat(made)


@pytest.mark.parametrize(
    ("side", "channels", "values", "masks"),
    [(1, 1, (0.0, 0.1, 0.5, 1.0), 3), (2, 1, (0.0, 0.5, 1.0), 3), (1, 3, (0.0, 0.5, 1.0), 2)],
)
def test_no_patch_changes_what_is_certified(
    side: int, channels: int, values: tuple[float, ...], masks: int
) -> None:
    proven = changed = 0
    for seed in range(12):
        model = network(seed, channels)
        x = torch.rand(8, channels, 4, 4)
        guard = cleanser(model, x, ThreatModel.parse(f"patch:{side}x{side}"), masks=masks)
        found = guard.certify(x)
        for row in range(len(x)):
            answers = guard.double_masking(attacked(x[row : row + 1], side, values))
            same = bool((answers == found.prediction[row]).all())
            assert same or not bool(found.proven[row])
            proven += int(found.proven[row])
            changed += not same
    assert proven > 10
    assert changed > 0


class Table(nn.Module):
    """Answers by what two masks of a 2x2 set leave to be seen of a picture of ones."""

    def __init__(self, answers: dict[tuple[bool, ...], int]) -> None:
        super().__init__()
        self.answers = answers

    def forward(self, x: Tensor) -> Tensor:
        seen = [tuple(bool(v) for v in row) for row in x[:, 0, ::3, ::3].flatten(1)]
        label = torch.tensor([self.answers.get(one, 0) for one in seen])
        return nn.functional.one_hot(label, 3).float()


QUARTERS = (True, True, True, True)


def without(*masks: int) -> tuple[bool, ...]:
    return tuple(i not in masks for i in range(4))


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({}, 0),
        ({without(1): 1}, 0),
        ({without(1): 1, without(0, 1): 1, without(1, 2): 1}, 0),
        ({without(*pair): 1 for pair in ((1,), (0, 1), (1, 2), (1, 3))}, 1),
    ],
    ids=["all agree", "outvoted", "not alone", "overruling"],
)
def test_double_masking_follows_the_algorithm(
    answers: dict[tuple[bool, ...], int], expected: int
) -> None:
    x = torch.ones(1, 1, 4, 4)
    hidden = mask_set(x, ThreatModel.parse("patch:1x1"), masks=2)
    assert len(hidden) == 4
    guard = Cleanser(Classifier(Table(answers)), hidden)
    assert guard.double_masking(x).tolist() == [expected]
    assert guard.certify(x).proven.tolist() == [not answers]


def test_an_answer_without_a_lead_proves_nothing() -> None:
    layer = nn.Linear(16, 2)
    layer.weight.data.zero_()
    layer.bias.data.zero_()
    tied = Classifier(nn.Sequential(nn.Flatten(), layer))
    x = torch.rand(2, 1, 4, 4)
    guard = cleanser(tied, x, ThreatModel.parse("patch:1x1"), masks=2)
    with torch.no_grad():
        assert not bool(guard.certify(x).proven.any())
        layer.bias.data = torch.tensor([1.0, 1.0 + 3 * LEAD])
        assert bool(guard.certify(x).proven.all())


def test_batches_change_nothing() -> None:
    model, x = network(2), torch.rand(7, 1, 4, 4)
    threat = ThreatModel.parse("patch:1x1")
    whole, small = (cleanser(model, x, threat, masks=3, batch_size=n).certify(x) for n in (999, 5))
    assert torch.equal(whole.prediction, small.prediction)
    assert torch.equal(whole.proven, small.proven)


def test_training_pictures_hide_two_masks_of_the_set() -> None:
    x = torch.ones(64, 1, 8, 8)
    threat = ThreatModel.parse("patch:2x2")
    batch = Batch(x, torch.zeros(64).long(), torch.arange(64), 0, 3)
    made = two_masks(masks=3, fill=0.5)(network(0), batch, threat)
    hidden = mask_set(x, threat, masks=3)
    unions = (hidden[:, None] | hidden[None]).flatten(0, 1)
    assert all(bool(((one == 0.5) == unions).flatten(1).all(1).any()) for one in made)
    later = two_masks(masks=3, fill=0.5)(network(0), Batch(x, batch.y, batch.index, 0, 4), threat)
    assert not torch.equal(made, later)


@pytest.mark.parametrize(("threat", "masks"), [("linf:0.1", 6), ("patch:2x2", 1)])
def test_what_cannot_be_masked_is_refused(threat: str, masks: int) -> None:
    with pytest.raises(UserError, match="patch"):
        mask_set(torch.zeros(1, 1, 8, 8), ThreatModel.parse(threat), masks=masks)
