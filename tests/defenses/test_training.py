"""The loop of adversarial training: what it gains, what it survives, what it never does."""

import platform
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import nn

from robustkit.audit import adaptive
from robustkit.audit.plan import make_plan
from robustkit.defenses.pipeline import Pipeline
from robustkit.defenses.postprocess import rounded
from robustkit.defenses.stage import Stage
from robustkit.defenses.training import loop
from robustkit.defenses.training.augment import Album, Moves
from robustkit.defenses.training.average import Followed, average_, copied
from robustkit.defenses.training.guards import (
    Probe,
    Scores,
    alarm,
    guessing,
    probe,
    remedy,
    validate,
)
from robustkit.defenses.training.inner import Batch, steep
from robustkit.defenses.training.loop import Entry, train
from robustkit.defenses.training.objectives import pgd_at
from robustkit.defenses.training.recipe import Recipe, recipe
from robustkit.defenses.training.trainer import Trainer, keep_freed_memory
from robustkit.draws import Draws
from robustkit.errors import RefusedError, UserError
from robustkit.loading.samples import Samples
from robustkit.model import Classifier
from robustkit.threat import ThreatModel
from robustkit.verbs.model_card import warnings
from robustkit.zoo import load_model, load_samples
from tests.defenses.small import SIX_BITS, Brightness
from tests.defenses.tiny import a_batch

THREAT = ThreatModel("linf", 0.1)
QUICK = Recipe(objective="fgsm-rs", epochs=3, batch_size=64)


def digits(samples: int = 400) -> Samples:
    return load_samples("digits", split="train").take(samples)


def weights(model: Classifier) -> list[torch.Tensor]:
    return list(model.module.state_dict().values())


def same(a: Classifier, b: Classifier) -> bool:
    return all(torch.equal(*pair) for pair in zip(weights(a), weights(b), strict=True))


class Kill:
    """Interrupts a run once the log has so many entries."""

    def __init__(self, entries: int) -> None:
        self.left = entries

    def __call__(self, entry: Entry) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_training_gains_robustness_and_leaves_the_model_alone() -> None:
    model = load_model("digits-standard")
    before = copied(model.module)
    done = train(model, digits(), THREAT, QUICK)
    assert done.status == "complete"
    assert done.scores.robust > done.before.robust + 0.15
    assert all(torch.equal(value, before[key]) for key, value in model.module.state_dict().items())
    assert [entry.epoch for entry in done.log] == [1, 2, 3]
    assert done.scores.samples == 40


def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    model = load_model("digits-standard")
    whole = train(model, digits(200), THREAT, QUICK, folder=tmp_path / "whole")
    folder = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        train(model, digits(200), THREAT, QUICK, folder=folder, watch=Kill(2))
    done = train(model, digits(200), THREAT, QUICK, folder=folder, resume=True)
    assert same(done.best, whole.best)
    assert same(done.last, whole.last)
    assert done.log == whole.log
    again = train(model, digits(200), THREAT, QUICK, folder=folder, resume=True)
    assert same(again.last, whole.last)


def test_a_run_is_neither_overwritten_nor_mistaken(tmp_path: Path) -> None:
    model = load_model("digits-standard")
    with pytest.raises(KeyboardInterrupt):
        train(model, digits(200), THREAT, QUICK, folder=tmp_path, watch=Kill(1))
    kept = (tmp_path / "training.pt").read_bytes()
    with pytest.raises(UserError, match="without a run"):
        train(model, digits(200), THREAT, QUICK, folder=tmp_path)
    with pytest.raises(UserError, match="seed"):
        train(model, digits(200), THREAT, QUICK, folder=tmp_path, seed=1, resume=True)
    assert (tmp_path / "training.pt").read_bytes() == kept
    (tmp_path / "training.pt").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(RefusedError, match="checkpoint"):
        train(model, digits(200), THREAT, QUICK, folder=tmp_path, resume=True)


def a_probe(one_step: float, multi_step: float, **more: float) -> Probe:
    facts = {
        "step": 9, "eps": 0.1, "largest_class": 0.2, "loss": 0.5, "classes": 10, "alignment": 0.8,
        "one_step": one_step, "multi_step": multi_step, "margin": multi_step, **more,
    }  # fmt: skip
    return Probe.model_validate(facts)


@pytest.mark.parametrize(
    ("seen", "best", "warm", "epochs", "expected"),
    [
        (a_probe(0.99, 0.02), 0.0, True, 0.5, "catastrophic overfitting"),
        (a_probe(0.80, 0.60), 0.9, True, 5, ""),
        (a_probe(0.60, 0.30), 0.3, False, 0.5, ""),
        (a_probe(0.90, 0.30), 0.6, False, 0.5, "catastrophic overfitting"),
        (a_probe(0.1, 0.1, loss=2.30, largest_class=1.0), 0.6, True, 2, "collapse"),
        (a_probe(0.1, 0.1, loss=2.30, largest_class=1.0), 0.6, True, 1, ""),
        (a_probe(0.1, 0.1, loss=float("nan")), 0.6, True, 0.1, "collapse"),
    ],
)
def test_an_alarm_is_raised_where_it_should_be(
    seen: Probe, best: float, warm: bool, epochs: float, expected: str
) -> None:
    assert alarm(seen, best=best, warm=warm, epochs=epochs) == expected


def test_gradients_that_no_longer_align_are_an_alarm_in_one_step_training() -> None:
    def seen(aligned: float, best: float = 0.6, **more: bool) -> str:
        facts = {"warm": True, "one_step": True, **more}
        return alarm(a_probe(0.6, 0.5, alignment=aligned), best=best, epochs=5, **facts)

    assert seen(0.2) == "catastrophic overfitting"
    assert seen(0.4) == ""
    assert seen(0.2, best=0.4) == ""
    assert seen(0.2, warm=False) == ""
    assert seen(0.2, one_step=False) == ""


def test_one_step_training_that_only_guesses_at_full_eps_makes_no_progress() -> None:
    seen = a_probe(0.3, 0.2)
    stuck = alarm(seen, best=0.6, warm=True, epochs=4, one_step=True, loss=2.31)
    assert stuck == "no progress"
    assert alarm(seen, best=0.6, warm=True, epochs=4, one_step=True, loss=2.1) == ""
    assert alarm(seen, best=0.6, warm=False, epochs=4, one_step=True, loss=2.31) == ""
    assert alarm(seen, best=0.6, warm=True, epochs=4, one_step=False, loss=2.31) == ""


def test_a_probe_tells_one_step_from_several() -> None:
    # Two valleys of wrong answers: one whole step jumps over the near one, short ones fall in.
    class Bent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            z = x.flatten(1)[:, 0] - 0.499
            margin = 40 * (z.abs() - 0.05).abs() - 1
            return torch.stack((margin, torch.zeros_like(z)), 1) * self.scale

    model = Classifier(Bent())
    trainer = Trainer(model, grey(), THREAT, Recipe(held=0.1), seed=0)
    seen = probe(trainer.model, trainer.probed(), THREAT)
    assert seen.one_step == 1
    assert seen.multi_step == 0


def grey() -> Samples:
    return Samples.of(torch.full((80, 1, 2, 2), 0.5), torch.zeros(80, dtype=torch.int64))


def alarming(monkeypatch: pytest.MonkeyPatch, when: dict[int, str]) -> list[int]:
    """Make the nth probes of a run alarm; the steps that were probed."""
    steps: list[int] = []

    def fake(seen: Probe, **_: object) -> str:
        steps.append(seen.step)
        return when.get(len(steps), "")

    monkeypatch.setattr(loop, "alarm", fake)
    return steps


def test_catastrophic_overfitting_rolls_back_and_climbs_the_ladder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = alarming(monkeypatch, {3: "catastrophic overfitting"})
    done = train(load_model("digits-standard"), digits(200), THREAT, QUICK)
    assert done.status == "complete"
    assert [entry.objective for entry in done.log] == ["fgsm-rs", "fgsm-rs", "pgd-2", "pgd-2"]
    assert [entry.remedy for entry in done.log] == ["", "pgd-2", "", ""]
    assert steps == [1, 2, 3, 3, 4, 5, 6]


def test_training_that_meets_no_attack_cannot_overfit_to_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alarming(monkeypatch, {2: "catastrophic overfitting"})
    plain = QUICK.model_copy(update={"objective": "gaussian"})
    done = train(load_model("digits-standard"), digits(200), THREAT, plain)
    assert done.status == "complete"
    assert [entry.alarm for entry in done.log] == ["", "", ""]


def test_a_run_stops_where_no_remedy_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    alarming(monkeypatch, dict.fromkeys(range(2, 99), "catastrophic overfitting"))
    model = load_model("digits-standard")
    done = train(model, digits(200), THREAT, QUICK, folder=tmp_path)
    assert done.status == "catastrophic overfitting"
    assert [entry.remedy for entry in done.log] == ["pgd-2", "pgd-at", "none is left: stopped"]
    assert same(done.best, model)
    again = train(model, digits(200), THREAT, QUICK, folder=tmp_path, resume=True)
    assert (again.status, again.log) == (done.status, done.log)


def test_a_collapse_starts_again_more_gently(monkeypatch: pytest.MonkeyPatch) -> None:
    alarming(monkeypatch, {2: "collapse"})
    done = train(load_model("digits-standard"), digits(200), THREAT, QUICK)
    alarming(monkeypatch, {})
    plain = train(load_model("digits-standard"), digits(200), THREAT, QUICK)
    first = next(entry for entry in done.log if not entry.alarm)
    assert first.epoch == 1
    assert first.rate == plain.log[0].rate
    assert first.eps < plain.log[0].eps
    assert (plain.log[0].objective, first.objective) == ("fgsm-rs", "pgd-2")


def test_only_a_second_collapse_slows_learning_down(monkeypatch: pytest.MonkeyPatch) -> None:
    alarming(monkeypatch, {2: "collapse", 4: "collapse"})
    done = train(load_model("digits-standard"), digits(200), THREAT, QUICK)
    first, second, gentle = done.log[:3]
    assert "lr" not in first.remedy
    assert "lr / 5" in second.remedy
    assert gentle.objective == "pgd-at"
    assert gentle.rate == pytest.approx(QUICK.rate(1 / 3) / 5)


def test_a_model_that_cannot_learn_is_given_up() -> None:
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    nan = Recipe(objective="pgd-2", epochs=2, lr=1e30, batch_size=64)
    done = train(model, digits(200), THREAT, nan)
    assert done.status == "collapse"
    assert all(bool(value.isfinite().all()) for value in weights(done.best))


def test_a_guess_is_never_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    assert guessing(a_probe(0.1, 0.1, loss=2.30, largest_class=1.0))
    assert not guessing(a_probe(0.1, 0.1, loss=2.30, largest_class=0.5))
    assert not guessing(a_probe(0.1, 0.1, loss=1.0, largest_class=1.0))
    model = load_model("digits-standard")
    monkeypatch.setattr(loop, "guessing", lambda seen: True)
    assert same(train(model, digits(200), THREAT, QUICK).best, model)


def test_ladders_end_and_presets_know_their_budget() -> None:
    small, large = ThreatModel.parse("linf:8/255"), ThreatModel.parse("linf:0.3")
    rungs = ("fgsm-rs", "n-fgsm", "free", "pgd-2", "grad-align", "pgd-at", "trades")
    assert [remedy(name, small) for name in rungs] == [
        "n-fgsm", "pgd-2", "pgd-2", "grad-align", "pgd-at", "", "",
    ]  # fmt: skip
    assert [remedy(name, large) for name in ("fgsm-rs", "pgd-2", "pgd-at")] == [
        "pgd-2",
        "pgd-at",
        "",
    ]
    assert recipe("fast", ThreatModel.parse("l2:0.5")).objective == "pgd-2"
    assert recipe("fast", ThreatModel.parse("linf:0.1")).objective == "fgsm-rs"
    with pytest.raises(UserError, match="standard"):
        recipe("magic", small)


def test_the_average_copies_buffers_and_averages_weights() -> None:
    module, average = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    followed = Followed.of(average, module)
    with torch.no_grad():
        module.weight.fill_(3.0)
        module.running_mean.fill_(5.0)  # type: ignore[union-attr]
    average_(followed, decay=0.5, step=1000)
    state = average.state_dict()
    torch.testing.assert_close(state["weight"], torch.full((2,), 2.0))
    torch.testing.assert_close(state["running_mean"], torch.full((2,), 5.0))
    module.running_mean.fill_(7.0)  # type: ignore[union-attr]
    torch.testing.assert_close(state["running_mean"], torch.full((2,), 5.0))


def test_weights_with_two_names_are_averaged_once() -> None:
    def tied() -> nn.Module:
        one, other = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
        other.weight = one.weight
        nn.init.ones_(one.weight)
        return nn.Sequential(one, other)

    average, module = tied(), tied()
    followed = Followed.of(average, module)
    nn.init.constant_(next(module.parameters()), 3.0)
    average_(followed, decay=0.5, step=1000)
    torch.testing.assert_close(next(average.parameters()).detach(), torch.full((2, 2), 2.0))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_pictures_move_by_every_shift_and_zeros_move_in(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randint(256, (5, 2, 4, 3), dtype=torch.uint8)
    x = x if dtype == torch.uint8 else x / 255
    album, bright = Album(x, 2), x / 255 if dtype == torch.uint8 else x
    torch.testing.assert_close(album.taken(torch.tensor([4, 0])), bright[[4, 0]])
    for top, left in product(range(5), range(5)):
        expected = torch.zeros(2, 4, 3)
        for row, column in product(range(4), range(3)):
            if 0 <= row + top - 2 < 4 and 0 <= column + left - 2 < 3:
                expected[:, row, column] = bright[4, :, row + top - 2, column + left - 2]
        moves = Moves(torch.tensor([top]), torch.tensor([left]), torch.tensor([True]))
        index = torch.tensor([4])
        torch.testing.assert_close(album.taken(index, moves)[0], expected.flip(2))
        torch.testing.assert_close(album.taken(index, moves._replace(mirrored=None))[0], expected)


def test_moves_take_every_value_and_mirror_half() -> None:
    moves = Moves.drawn(Draws.keyed(0, torch.arange(500)), 2, flip=True)
    assert set(moves.top.tolist()) == set(moves.left.tolist()) == set(range(5))
    assert moves.mirrored is not None
    assert 200 < int(moves.mirrored.sum()) < 300
    assert Moves.drawn(Draws.keyed(0, torch.arange(5)), 2, flip=False).mirrored is None


def test_steps_may_be_in_half_precision_and_what_is_measured_never_is() -> None:
    trainer = Trainer(load_model("digits-standard"), digits(200), THREAT, QUICK, seed=0)
    trainer.half = True
    seen: set[torch.dtype] = set()
    for model in (trainer.model, trainer.average):
        assert isinstance(model.module, nn.Sequential)
        model.module[-1].register_forward_hook(lambda _m, _x, y: seen.add(y.dtype))
    trainer.advance()
    assert seen == {torch.bfloat16}
    assert {one.dtype for one in trainer.model.module.parameters()} == {torch.float32}
    seen.clear()
    with torch.autocast("cpu", torch.bfloat16):
        probe(trainer.model, trainer.probed(), THREAT)
        validate(trainer.average, trainer.pictures(trainer.held), trainer.threats)
    assert seen == {torch.float32}


def test_robust_is_who_withstands_every_threat() -> None:
    # A margin of 1: linf:0.3 moves it by 0.6, l1:1.1 by 1.1.
    layer = nn.Linear(2, 2)
    layer.weight.data = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    layer.bias.data = torch.tensor([-0.2, 0.0])
    model = Classifier(nn.Sequential(nn.Flatten(), layer))
    batch = a_batch(torch.full((4, 1, 1, 2), 0.6), torch.zeros(4, dtype=torch.int64))
    linf, l1 = ThreatModel("linf", 0.3), ThreatModel("l1", 1.1)
    assert validate(model, batch, (linf,)).robust == 1
    assert validate(model, batch, (linf, l1)).robust == 0
    assert validate(model, batch, (l1.with_eps(0.9), linf)).robust == 1


def test_a_model_that_fools_the_loss_it_learned_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def flattering(model: Classifier, batch: Batch, threat: ThreatModel) -> Probe:
        seen = probe(model, batch, threat)
        return seen.model_copy(update={"multi_step": 0.6, "margin": 0.55})

    monkeypatch.setattr(loop, "probe", flattering)
    recipe = QUICK.model_copy(update={"epochs": 1, "warm_up": 0.0})
    done = train(load_model("digits-standard"), digits(200), THREAT, recipe)
    assert [entry.flattered for entry in done.log] == [True]
    assert "flatters" in warnings(done.log[0])[-1]


@pytest.mark.parametrize(
    ("name", "cleans", "kept"),
    [
        ("pgd-at", (0.9, 0.9, 0.9), 0.8),
        ("gaussian", (0.9, 0.9, 0.9), 0.2),
        ("gaussian", (0.9, 0.9, 0.1), 0.5),
    ],
)
def test_the_best_epoch_is_the_most_robust_or_the_last_before_a_vote(
    monkeypatch: pytest.MonkeyPatch, name: str, cleans: tuple[float, ...], kept: float
) -> None:
    """Clean accuracy within its limit counts first in both."""
    told = iter([(0.9, 0.1), *zip(cleans, (0.8, 0.5, 0.2), strict=True)])

    def validated(*_: object) -> Scores:
        clean, robust = next(told)
        return Scores(clean=clean, robust=robust, samples=20)

    monkeypatch.setattr(loop, "validate", validated)
    changes = {"objective": name, "epochs": 3, "max_clean_drop": 0.5}
    done = train(
        load_model("digits-standard"), digits(200), THREAT, QUICK.model_copy(update=changes)
    )
    assert done.scores.robust == kept
    last = all(
        torch.equal(one, other)
        for one, other in zip(
            done.best.module.parameters(), done.last.module.parameters(), strict=True
        )
    )
    assert last == (kept == 0.2)


def test_validation_pictures_are_never_trained_on() -> None:
    trainer = Trainer(load_model("digits-standard"), digits(200), THREAT, QUICK, seed=3)
    held = set(trainer.held.tolist())
    seen: set[int] = set()
    for _ in range(trainer.epoch_steps):
        seen |= set(trainer._batch().index.tolist())
        trainer.step += 1
    assert len(held) == 20
    assert not held & seen
    assert len(seen) == trainer.epoch_steps * trainer.batch_size


def test_a_hardened_pipeline_keeps_its_views_and_they_see_what_it_learned() -> None:
    model, x = load_model("digits-standard"), load_samples("digits").pixels(slice(0, 8))
    whole = Pipeline(model, (SIX_BITS,)).classifier()
    with model.frozen(), torch.no_grad():
        before = model(x)
    trainer = Trainer(whole, digits(200), THREAT, QUICK, seed=0)
    for _ in range(4):
        trainer.advance()
    for made in (trainer.model, trainer.average):
        assert set(made.views) == set(whole.views)
        inner = made.views["undefended"]
        with made.frozen(), torch.no_grad():
            learned = made(x)
            torch.testing.assert_close(learned, inner((x * 63).round() / 63))
            torch.testing.assert_close(learned, made.views["bpda-surrogate"](x))
        with model.frozen(), torch.no_grad():
            assert torch.equal(before, model(x))
        assert not torch.allclose(learned, before, atol=0.01)
    plan = make_plan(model="m", data="zoo:digits", threats=["linf:0.1"], attacks=["fgsm"])
    attacks = adaptive.adapted(plan, trainer.average).bouts[0].attacks
    assert attacks == adaptive.adapted(plan, whole).bouts[0].attacks
    assert any(one.endswith("@bpda-surrogate") for one in attacks)


def test_an_attack_in_training_sees_through_a_stage_without_a_gradient() -> None:
    model, data = load_model("digits-standard"), load_samples("digits", split="train").take(32)
    whole = Pipeline(model, (SIX_BITS,)).classifier()
    batch = a_batch(data.pixels(slice(0, 32)), data.y)
    blind = steep(steps=3, length=0.5)(whole, batch, THREAT)
    seeing = pgd_at(steps=3, length=0.5).pictures(whole, batch, THREAT)
    with whole.frozen(), torch.no_grad():
        missed, found = (
            float((whole(x).argmax(1) == batch.y).float().mean()) for x in (blind, seeing)
        )
    assert found < missed - 0.3


def test_what_stands_around_the_model_does_not_learn() -> None:
    stage = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    trainer = Trainer(
        Pipeline(load_model("digits-standard"), (Stage("filter", stage),)).classifier(),
        digits(200), THREAT, QUICK, seed=0,
    )  # fmt: skip
    before = copied(stage)
    trainer.advance()
    module = trainer.model.module.parts[1]  # type: ignore[index]
    assert isinstance(module, nn.Module)
    assert all(torch.equal(value, before[key]) for key, value in copied(module).items())


@pytest.mark.parametrize("kind", ["detector", "post"])
def test_what_answers_for_the_model_cannot_be_trained(kind: str) -> None:
    model, x = load_model("digits-standard"), load_samples("digits").pixels(slice(0, 24))
    watch = Brightness().calibrate(model, x, false_alarms=0.25)
    parts = {"detector": watch} if kind == "detector" else {"postprocess": rounded()}
    with pytest.raises(UserError, match="behind"):
        train(Pipeline(model, **parts).classifier(), digits(200), THREAT, QUICK)


ASKED_FOR = (
    "pgd-at", "fgsm-rs", "n-fgsm", "free", "trades", "mart", "awp", "trades-awp", "grad-align",
    "e-at", "max-at", "avg-at", "msd", "patch-at", "universal-at", "distill",
)  # fmt: skip


@pytest.mark.parametrize("name", ASKED_FOR)
def test_every_objective_has_a_recipe_with_settings(name: str) -> None:
    threat = ThreatModel.parse("patch:2x2" if name == "patch-at" else "linf:0.1")
    found = recipe(f"{name}:ema=0.9,warm_up=0,lr=0.01,shift=0", threat)
    assert found.objective == name
    assert (found.ema, found.warm_up, found.lr, found.shift) == (0.9, 0, 0.01, 0)
    if name == "mart":
        with pytest.raises(UserError, match="a setting of mart"):
            recipe("mart:smoothing=0.1", threat)
    else:
        assert recipe(f"{name}:smoothing=0.1", threat).smoothing == 0.1
    trainer = Trainer(load_model("digits-standard"), digits(80), threat, found, seed=0)
    assert bool(trainer.advance().isfinite())


def test_settings_of_an_objective_hold_until_a_remedy_chose_another() -> None:
    quick = recipe("pgd-at:steps=1,batch_size=32", THREAT)
    trainer = Trainer(load_model("digits-standard"), digits(80), THREAT, quick, seed=0)
    trainer.advance()
    assert trainer.model.forwards == 2 * 32
    trainer.objective = "pgd-2"
    trainer.advance()
    assert trainer.model.forwards == (2 + 3) * 32
    assert Recipe.model_validate_json(quick.model_dump_json()) == quick


@pytest.mark.parametrize("words", ["smoothing=1", "batch_size=0", "held=1", "optimizer=lbfgs"])
def test_settings_out_of_range_are_refused(words: str) -> None:
    with pytest.raises(UserError, match=words):
        recipe(f"pgd-at:{words}", THREAT)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what is freed is glibc's affair")
def test_freed_memory_is_not_asked_for_again() -> None:
    import resource

    keep_freed_memory()
    for _ in range(3):
        torch.ones(2_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(2_000_000)
    pages = 5 * 4 * 2_000_000 // resource.getpagesize()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < pages / 2


def test_interval_bounds_are_for_linf_alone() -> None:
    assert recipe("ibp", THREAT).objective == "ibp"
    with pytest.raises(UserError, match=r"got l2:0\.5"):
        recipe("ibp", ThreatModel.parse("l2:0.5"))
