"""Denoisers: what they are taught, and that nothing but them learns."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from torch import nn
from torch.nn import functional

from robustkit import zoo
from robustkit.defenses.denoise import DENOISERS, denoiser
from robustkit.defenses.denoise.guarded import Guarded, guarded
from robustkit.defenses.denoise.stored import packed, stage
from robustkit.defenses.denoise.unet import UNet, unet
from robustkit.defenses.pipeline import Pipeline
from robustkit.defenses.training.denoising import hgd, pixel, stability
from robustkit.defenses.training.inner import Batch, gaussian_noise, still
from robustkit.defenses.training.loop import train
from robustkit.defenses.training.objectives import objective
from robustkit.defenses.training.recipe import Recipe
from robustkit.errors import RefusedError, UserError
from robustkit.loading import Samples
from robustkit.model import Classifier
from robustkit.preprocess import Preprocess
from robustkit.threat import ThreatModel

Run = Callable[..., Result]
THREAT = ThreatModel("linf", 0.1)


def net() -> Classifier:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(196, 3)
    )
    return Classifier(module.eval(), preprocess=Preprocess.parse("half"))


def pair() -> Classifier:
    torch.manual_seed(1)
    made = unet(1, width=2)
    nn.init.normal_(made.last.weight, std=0.1)
    return guarded(made, net())


def pictures() -> Batch:
    torch.manual_seed(2)
    return Batch(torch.rand(6, 1, 7, 7), torch.arange(6) % 3, torch.arange(6), 0, 4)


@pytest.mark.parametrize("name", DENOISERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_untrained_denoiser_gives_back_what_it_gets(name: str, channels: int) -> None:
    x = torch.rand(2, channels, 9, 14)
    made = denoiser(name, channels)
    assert torch.equal(made(x), x)
    (made(x) - 1).square().sum().backward()
    assert any(bool(one.grad.any()) for one in made.parameters() if one.grad is not None)


def trained() -> UNet:
    torch.manual_seed(5)
    made = unet(1)
    nn.init.normal_(made.last.weight, std=0.1)
    return made


def test_a_pair_answers_as_the_pipeline_of_its_parts(tmp_path: Path) -> None:
    whole, x = guarded(trained(), net()), torch.rand(3, 1, 7, 7)
    (tmp_path / "denoiser.safetensors").write_bytes(packed("unet", trained(), 1))
    piped = Pipeline(net(), (stage(tmp_path / "denoiser.safetensors"),)).classifier()
    with whole.frozen(), torch.no_grad():
        assert torch.equal(whole(x), piped(x))
        assert not torch.equal(whole(x), net()(x))
    assert piped.views


def test_other_files_are_no_denoisers(tmp_path: Path) -> None:
    weights = Path(zoo.__file__).parent / "digits-standard.safetensors"
    for content in (weights, b"", packed("unet", denoiser("dncnn", 1), 1)):
        with pytest.raises(RefusedError, match="denoiser"):
            stage(content)


@pytest.mark.slow
def test_a_denoiser_is_trained_by_the_verb(run: Run, tmp_path: Path) -> None:
    words = (
        "harden", "zoo:digits-standard", "--denoiser", "unet", "--recipe", "fgsm-rs", "--epochs",
        "1", "--threat", "linf:0", "--attack", "pgd:steps=5", "--samples", "6", "--out", "made",
    )  # fmt: skip
    facts = json.loads(run(*words, "--json", code=1).stdout)
    made = stage(tmp_path / facts["weights"])
    assert made.settings["denoiser"] == "unet"
    again = Pipeline(zoo.load_model("digits-standard"), (made,)).classifier()
    samples = zoo.load_samples("digits").take(6)
    right = again(samples.pixels(slice(0, 6))).argmax(1) == samples.y
    assert float(right.float().mean()) == pytest.approx(facts["after"]["clean_accuracy"])
    assert [one["of"] for one in facts["changes"]] == ["clean", "linf:0"]
    assert all(one["samples"] == 6 for one in facts["changes"])
    card = (tmp_path / "made/MODEL-CARD.md").read_text()
    assert "clean accuracy: " in card
    assert "the attacks know of the denoiser" in card


@pytest.mark.parametrize("name", ["pgd-2", "denoise-pixel", "denoise-hgd", "denoise-stability"])
def test_nothing_but_the_denoiser_learns(name: str) -> None:
    inner = net()
    before = {key: value.clone() for key, value in inner.module.state_dict().items()}
    rng = torch.Generator().manual_seed(3)
    x = torch.rand(120, 1, 7, 7, generator=rng)
    data = Samples.of(x, torch.arange(120) % 3, ids=[str(i) for i in range(120)])
    recipe = Recipe(objective=name, epochs=1, batch_size=32, shift=0)
    made = guarded(unet(1, width=2), inner)
    done = train(made, data, THREAT, recipe).last.module
    assert isinstance(done, Guarded)
    after = done.net.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert any(bool(one.any()) for one in done.denoiser.get_submodule("last").parameters())
    assert not any(one.requires_grad for one in done.net.parameters())


def test_training_mode_reaches_the_denoiser_only() -> None:
    whole = guarded(denoiser("dncnn", 1), net())
    whole.module.train()
    assert isinstance(whole.module, Guarded)
    assert whole.module.denoiser.training
    assert not whole.module.net.training
    norms = [one for one in whole.module.modules() if isinstance(one, nn.BatchNorm2d)]
    with still(whole, batch_statistics=True):
        training = [one.training for one in norms]
    assert training.count(True) == len(norms) - 1
    assert not any(one.training for one in whole.module.net.modules())


def test_pixels_and_logits_are_compared_with_the_clean_ones() -> None:
    whole, batch = pair(), pictures()
    module = whole.module
    assert isinstance(module, Guarded)
    x_adv = pixel().pictures(whole, batch, THREAT)
    assert torch.equal(x_adv, hgd().pictures(whole, batch, THREAT))
    assert float((x_adv - batch.x).abs().max()) == pytest.approx(0.1, abs=1e-6)
    cleaned = module.denoiser(x_adv)
    expected = (cleaned - batch.x).abs().mean((1, 2, 3))
    torch.testing.assert_close(pixel()(whole, batch, THREAT), expected)
    inner = module.undefended(whole)
    expected = (inner(cleaned) - inner(batch.x)).abs().sum(1)
    torch.testing.assert_close(hgd()(whole, batch, THREAT), expected)


def test_what_is_taught_is_made_without_the_denoiser_in_mind() -> None:
    batch = pictures()
    x_adv = pixel().pictures(pair(), batch, THREAT)
    other = guarded(nn.Conv2d(1, 1, 3, padding=1), net())
    assert torch.equal(pixel().pictures(other, batch, THREAT), x_adv)
    with torch.no_grad():
        clean, worse = (functional.cross_entropy(net()(x), batch.y) for x in (batch.x, x_adv))
    assert float(worse) > float(clean)


def test_stability_asks_for_the_class_without_noise() -> None:
    whole, batch = pair(), pictures()
    assert isinstance(whole.module, Guarded)
    noisy = gaussian_noise(whole, batch, THREAT)
    label = whole.module.undefended(whole)(batch.x).argmax(1)
    expected = functional.cross_entropy(whole(noisy), label, reduction="none")
    torch.testing.assert_close(stability()(whole, batch, THREAT), expected)


@pytest.mark.parametrize("name", ["denoise-pixel", "denoise-hgd", "denoise-stability"])
def test_without_a_denoiser_there_is_nothing_to_teach(name: str) -> None:
    with pytest.raises(UserError, match="denoiser"):
        objective(name)(net(), pictures(), THREAT)
    with pytest.raises(UserError, match="unet"):
        denoiser("median", 1)


@pytest.mark.slow
def test_end_to_end_the_pair_withstands_more_than_the_model() -> None:
    torch.manual_seed(0)
    data = zoo.load_samples("digits", split="train").take(700)
    made = guarded(unet(1, width=8), zoo.load_model("digits-standard"))
    recipe = Recipe(
        objective="fgsm-rs", epochs=6, lr=0.005, optimizer="adamw", batch_size=32, shift=0, ema=0.9
    )
    done = train(made, data, THREAT, recipe)
    assert done.scores.robust > done.before.robust + 0.1
    assert done.scores.clean > 0.9
