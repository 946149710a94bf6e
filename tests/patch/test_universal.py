"""One patch for all pictures: where it lies, what its gradient is, and what it leaves alone."""

import gc

import pytest
import torch
from torch import Tensor, nn

from robustkit.attacks.patch import (
    Patch,
    Placement,
    Recipe,
    Views,
    inks,
    outline,
    place,
    success,
    train_patch,
    unprintable,
    upright,
    variation,
)
from robustkit.draws import Draws
from robustkit.errors import UserError
from robustkit.model import Classifier

SHAPE = (3, 12, 16)


def pictures(count: int = 4) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(0))


def some_patch(height: int = 4, width: int = 6, dtype: torch.dtype = torch.float32) -> Patch:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand(3, height, width, generator=generator, dtype=dtype)
    return Patch(0.2 + 0.6 * pixels, torch.ones(height, width, dtype=torch.bool))


@pytest.mark.parametrize(("top", "left"), [(0, 0), (8, 10), (3, 5)])
def test_upright_it_is_pasted_and_nothing_else_differs(top: int, left: int) -> None:
    x, patch = pictures(), some_patch()
    shown = place(patch, x, upright(x, patch, top, left))
    inside = torch.zeros(SHAPE[1:], dtype=torch.bool)
    inside[top : top + 4, left : left + 6] = True
    assert torch.equal(shown[:, :, ~inside], x[:, :, ~inside])
    pasted = shown[:, :, top : top + 4, left : left + 6]
    assert torch.allclose(pasted, patch.pixels.expand_as(pasted), atol=1e-5)


def test_a_quarter_turn_is_counter_clockwise() -> None:
    x, patch = torch.zeros(1, *SHAPE), some_patch(4, 4)
    turned = upright(x, patch, 4, 6)._replace(angle=torch.tensor([torch.pi / 2]))
    shown = place(patch, x, turned)[0, :, 4:8, 6:10]
    assert torch.allclose(shown, patch.pixels.rot90(1, (1, 2)), atol=1e-5)


def test_twice_the_size_covers_four_times_as_much_and_brightness_is_a_factor() -> None:
    x, patch = torch.zeros(1, *SHAPE), some_patch(4, 4)
    twice = upright(x, patch, 4, 6)._replace(scale=torch.tensor([2.0]))
    assert int((place(patch, x, twice)[0, 0] > 0).sum()) == 64
    dark = upright(x, patch, 4, 6)._replace(brightness=torch.tensor([0.5]))
    lit = upright(x, patch, 4, 6)
    assert torch.allclose(2 * place(patch, x, dark), place(patch, x, lit), atol=1e-6)


def drawn(x: Tensor, patch: Patch, views: Views) -> Placement:
    return views.draw(patch, x, Draws.keyed(3, torch.arange(len(x))))


def test_gradients_agree_with_finite_differences() -> None:
    x, patch = pictures().double(), some_patch(4, 5, torch.float64)
    views = Views(rotation=40, scale=(0.7, 1.6), brightness=0.1, perspective=0.2)
    placement = Placement(*(part.double() for part in drawn(x, patch, views)))
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(2)).double()

    def score(pixels: Tensor) -> Tensor:
        return (place(patch._replace(pixels=pixels), x, placement).sin() * weight).sum()

    assert torch.autograd.gradcheck(score, patch.pixels.clone().requires_grad_())


def test_what_is_drawn_lies_inside_and_differs() -> None:
    x, patch = torch.zeros(200, *SHAPE), some_patch()
    placement = drawn(x, patch, Views(rotation=30, scale=(0.8, 1.2), perspective=0))
    shown = place(patch, x, placement)
    area = (shown > 0).any(1).sum((1, 2)).float()
    assert ((area / (24 * placement.scale.square()) - 1).abs() < 0.35).all()
    assert placement.angle.abs().max() <= 30 * torch.pi / 180
    assert len(set(placement.row.tolist())) > 190
    assert (shown > 0).any(1).any(0).float().mean() > 0.9
    fixed = drawn(x, patch, Views(at=(0.5, 0.25)))
    assert set(fixed.row.tolist()) == {6.0}
    assert set(fixed.column.tolist()) == {4.0}


def test_tilted_it_stays_within_its_outline_and_the_near_side_is_larger() -> None:
    x, patch = torch.zeros(1, 1, 40, 40), Patch(torch.ones(1, 20, 20), torch.ones(20, 20) > 0)
    front = upright(x, patch, 10, 10)
    right = place(patch, x, front._replace(tilt=torch.tensor([[0.3, 0.0]])))[0, 0] > 0
    assert not right[:, :10].any()
    assert not right[:10].any()
    # Nearest at 1, the middle at 1.3, the left edge at 1.6: so much smaller is it.
    columns = right.any(0).nonzero().squeeze(1)
    assert int(columns[-1]) == 29
    share = right[:, columns].sum(0).float()
    assert float(share[-1] / share[0]) == pytest.approx(1.6, rel=0.1)
    assert int((right != right.flip(0)).sum()) <= 6
    down = place(patch, x, front._replace(tilt=torch.tensor([[0.0, 0.3]])))[0, 0] > 0
    assert int((down != right.T).sum()) <= 6


def test_perspective_follows_the_projective_formula() -> None:
    """A point of the patch at (u, v) is seen at (u, v) / (c - a u - b v), c = 1 + |a| + |b|."""
    x = torch.zeros(1, 1, 41, 41)
    pixels = torch.zeros(1, 21, 21)
    pixels[0, 5, 15] = 1.0
    patch = Patch(pixels, torch.ones(21, 21) > 0)
    tilt = torch.tensor([[0.2, -0.1]])
    placement = upright(x, patch, 10, 10)._replace(tilt=tilt)
    shown = place(patch, x, placement)[0, 0]
    u, v = 2 * 15.5 / 21 - 1, 2 * 5.5 / 21 - 1
    depth = 1.3 - 0.2 * u + 0.1 * v
    column, row = 10.5 * u / depth + 20.5, 10.5 * v / depth + 20.5
    weights = shown / shown.sum()
    ticks = torch.arange(41) + 0.5
    assert float((weights.sum(0) * ticks).sum()) == pytest.approx(column, abs=0.3)
    assert float((weights.sum(1) * ticks).sum()) == pytest.approx(row, abs=0.3)


def test_what_ink_can_show_costs_nothing_and_other_colours_their_distance() -> None:
    full = torch.ones(3, 3) > 0
    known = Patch(inks()[:9].T.reshape(3, 3, 3), full)
    assert float(unprintable(known)) == pytest.approx(0, abs=1e-5)
    blue = torch.zeros(3, 3, 3)
    blue[2] = 1.0
    apart = min(float((torch.tensor([0.0, 0.0, 1.0]) - ink).norm()) for ink in inks())
    assert float(unprintable(Patch(blue, full))) == pytest.approx(apart, abs=1e-5)
    half = torch.tensor([[True, False, False]] * 3)
    mixed = torch.where(half, blue, known.pixels)
    assert float(unprintable(Patch(mixed, half))) == pytest.approx(apart, abs=1e-5)
    assert float(unprintable(Patch(torch.ones(1, 3, 3), full))) == pytest.approx(0, abs=1e-5)


def test_a_printable_patch_is_nearer_to_ink_and_a_mask_is_kept() -> None:
    model, x = Classifier(Shaky()), pictures(8)
    y = torch.zeros(8, dtype=torch.int64)
    mask = torch.zeros(6, 8, dtype=torch.bool)
    mask[1:5, 2:] = True
    plain, ink = (
        train_patch(model, x, y, recipe=Recipe(mask=mask, steps=40, printable=weight))
        for weight in (0.0, 30.0)
    )
    assert torch.equal(plain.mask, mask)
    assert unprintable(ink) < 0.6 * unprintable(plain)
    with pytest.raises(UserError, match="opaque somewhere"):
        train_patch(model, x, y, recipe=Recipe(mask=torch.zeros(3, 3, dtype=torch.bool)))


def test_a_round_patch_has_no_corners() -> None:
    mask = outline(Recipe(size=(20, 20), shape="round"))
    assert not mask[0, 0]
    assert mask[10, 10]
    assert float(mask.float().mean()) == pytest.approx(torch.pi / 4, abs=0.03)
    assert torch.equal(mask, mask.flip(0))
    x = pictures(1)
    patch = Patch(torch.ones(3, 9, 9), outline(Recipe(size=(9, 9), shape="round")))
    shown = place(patch, x, upright(x, patch, 1, 2))
    changed = (shown != x).any(1)[0]
    assert torch.equal(changed[1:10, 2:11], patch.mask)
    assert int(changed.sum()) == int(patch.mask.sum())


class Shaky(nn.Module):
    """A model with everything that training could change: batch statistics, dropout, gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Dropout(0.3), nn.ELU(), nn.Flatten()
        )
        self.head = nn.Linear(6 * 10 * 14, 4)
        generator = torch.Generator().manual_seed(4)
        for weight in self.parameters():
            weight.data = torch.randn(weight.shape, generator=generator) / 12

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits


def test_memory_does_not_grow_with_the_steps() -> None:
    alive = []

    class Counting(Shaky):
        def forward(self, x: Tensor) -> Tensor:
            gc.collect()
            alive.append(sum(type(one) is Tensor for one in gc.get_objects()))
            return super().forward(x)

    train_patch(
        Classifier(Counting()), pictures(8), torch.zeros(8, dtype=torch.int64),
        recipe=Recipe(size=(6, 8), steps=12, batch_size=4, smooth=0.1, printable=0.1),
    )  # fmt: skip
    assert len(alive) == 12
    assert len(set(alive[3:])) == 1


@pytest.mark.parametrize("target", [None, 2])
def test_training_succeeds_and_leaves_the_model_bit_for_bit(target: int | None) -> None:
    module = Shaky().train()
    model, x = Classifier(module), pictures(24)
    with model.frozen(), torch.no_grad():
        y = model(x).argmax(1)
    kept = y != 2
    x, y = x[kept], y[kept]
    before = {key: value.clone() for key, value in module.state_dict().items()}
    state = torch.get_rng_state()
    recipe = Recipe(size=(6, 8), steps=60, batch_size=8, draws=2)
    shown = {"target": target, "views": Views(perspective=0)}
    patch = train_patch(model, x, y, recipe=recipe, **shown)
    again = train_patch(model, x, y, recipe=recipe, **shown)
    assert torch.equal(patch.pixels, again.pixels)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert all(part.training for part in module.modules())
    assert all(p.requires_grad and p.grad is None for p in module.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert patch.pixels.min() >= 0
    assert patch.pixels.max() <= 1
    trained = success(model, patch, x=x, y=y, **shown).float().mean()
    noise = Patch(torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(6)), patch.mask)
    plain = success(model, noise, x=x, y=y, **shown).float().mean()
    assert trained >= plain + 0.3


def test_a_smooth_patch_varies_less() -> None:
    model, x = Classifier(Shaky()), pictures(8)
    y = torch.zeros(8, dtype=torch.int64)
    rough, smooth = (
        train_patch(model, x, y, target=1, recipe=Recipe((6, 6), steps=30, smooth=weight))
        for weight in (0.0, 3.0)
    )
    assert variation(smooth) < variation(rough) / 2


def test_wrong_sizes_and_shapes_are_refused() -> None:
    model, x = Classifier(Shaky()), pictures(4)
    y = torch.zeros(4, dtype=torch.int64)
    for recipe in (Recipe((13, 4)), Recipe((4, 17)), Recipe((0, 4)), Recipe((4, 4), "star")):
        with pytest.raises(UserError):
            train_patch(model, x, y, recipe=recipe)
