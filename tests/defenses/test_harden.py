"""`robustkit harden`, end to end on the zoo, and what it refuses."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from math import factorial, prod
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import robustkit as rk
from robustkit.audit.statistics import paired_interval
from robustkit.defenses.training.guards import Scores
from robustkit.defenses.training.loop import Training, train
from robustkit.defenses.training.pace import within
from robustkit.defenses.training.recipe import Recipe
from robustkit.errors import UserError
from robustkit.threat import ThreatModel
from robustkit.verbs.changes import changes, lines
from robustkit.verbs.hardening import objections, split
from robustkit.zoo import load_model, load_samples

Run = Callable[..., Result]
QUICK = (
    "harden", "zoo:digits-standard", "--threat", "linf:0.1", "--attack", "pgd", "--samples", "60",
    "--out", "made", "--json",
)  # fmt: skip


def test_a_model_is_hardened_end_to_end(run: Run, tmp_path: Path) -> None:
    facts = json.loads(run(*QUICK, "--recipe", "fast", "--epochs", "2").stdout)
    assert facts["hardened"]
    assert facts["after"]["robust_accuracy"] > facts["before"]["robust_accuracy"] + 0.1
    clean, robust = facts["changes"]
    assert (clean["of"], robust["of"]) == ("clean", "linf:0.1")
    for one, key in ((clean, "clean_accuracy"), (robust, "robust_accuracy")):
        assert one["before"] == pytest.approx(facts["before"][key])
        assert one["after"] == pytest.approx(facts["after"][key])
        assert one["difference"] == pytest.approx(one["after"] - one["before"])
        assert one["interval"][0] <= one["difference"] <= one["interval"][1]
    assert robust["interval"][0] > 0
    made = tmp_path / "made"
    weights = made / "hardened.safetensors"
    model = rk.load(weights, arch="robustkit.zoo.nets:digits_net")
    samples = load_samples("digits").take(60)
    right = model(samples.x).argmax(1) == samples.y
    assert int(right.sum()) / 60 == pytest.approx(facts["after"]["clean_accuracy"])
    text = (made / "MODEL-CARD.md").read_text()
    assert "# Hardened: zoo:digits-standard under linf:0.1" in text
    assert f"{robust['gained']} gained, {robust['lost']} lost" in text
    assert "know of the denoiser" not in text
    assert all((made / name / "audit.json").exists() for name in ("before", "after"))
    before = weights.read_bytes()
    assert "--resume" in run(*QUICK, code=2).stderr
    assert weights.read_bytes() == before
    assert "recipe" in run(*QUICK, "--recipe", "pgd-at", "--resume", code=2).stderr
    again = json.loads(run(*QUICK, "--recipe", "fast", "--epochs", "2", "--resume").stdout)
    assert again["after"] == facts["after"]
    assert weights.read_bytes() == before


def test_a_model_that_gained_nothing_is_not_called_hardened(run: Run, tmp_path: Path) -> None:
    words = [word if word != "linf:0.1" else "linf:0" for word in QUICK]
    facts = json.loads(run(*words, "--recipe", "fgsm-rs", "--epochs", "1", code=1).stdout)
    assert not facts["hardened"]
    assert "did not rise in validation" in facts["reasons"][0]
    assert not (tmp_path / "made/hardened.safetensors").exists()
    assert (tmp_path / "made/candidate.safetensors").exists()
    assert "NOT hardened" in (tmp_path / "made/MODEL-CARD.md").read_text()


def test_several_threats_are_trained_and_audited_together(run: Run, tmp_path: Path) -> None:
    words = [*QUICK, "--threat", "l2:0.5", "--recipe", "fast", "--epochs", "1"]
    facts = json.loads(run(*words).stdout)
    assert facts["after"]["robust_accuracy"] > facts["before"]["robust_accuracy"]
    text = (tmp_path / "made/MODEL-CARD.md").read_text()
    assert "under linf:0.1 and l2:0.5" in text
    assert [text.count(f"| {side} | l2:0.5 | 60 |") for side in ("before", "after")] == [1, 1]
    assert "recipe: objective e-at" in text


def scores(clean: float, robust: float) -> Scores:
    return Scores(clean=clean, robust=robust, samples=100)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((0.9, 0.1), (0.85, 0.5), []),
        ((0.9, 0.1), (0.80, 0.5), []),
        ((0.9, 0.1), (0.79, 0.5), ["clean accuracy fell in validation"]),
        ((0.9, 0.1), (0.9, 0.1), ["did not rise in validation"]),
        ((0.9, 0.1), (0.5, 0.0), ["did not rise", "clean accuracy fell"]),
    ],
)
def test_robustness_must_rise_and_clean_accuracy_stay(
    before: tuple[float, float], after: tuple[float, float], expected: list[str]
) -> None:
    model = load_model("digits-standard")
    done = Training("complete", (), scores(*before), scores(*after), model, model)
    log = rk.audit(model, load_samples("digits").take(20), "linf:0.1", attacks=["fgsm"])
    better = log.threats[0].model_copy(update={"robust_accuracy": 1.0})
    found = objections(done, log, log.model_copy(update={"threats": (better,)}), limit=0.1)
    assert len(found) == len(expected)
    assert all(part in reason for part, reason in zip(expected, found, strict=True))
    assert "in the audit" in objections(done, log, log, limit=0.1)[-1]


def test_a_refusal_says_what_robustness_would_have_cost() -> None:
    model, data = load_model("digits-standard"), load_samples("digits", split="train").take(200)
    quick = Recipe(objective="fgsm-rs", epochs=3, batch_size=64)
    done = train(model, data, ThreatModel("linf", 0.1), quick)
    kept = replace(done, scores=done.before)
    log = rk.audit(model, load_samples("digits").take(20), "linf:0.1", attacks=["fgsm"])
    found = objections(kept, log, log, limit=0.0)
    assert "epochs that gained robust accuracy, up to" in found[-1]


def test_the_audit_never_sees_what_was_trained_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "some.npz"
    np.savez(path, x=rng.integers(0, 255, (50, 3, 8, 8), np.uint8), y=np.arange(50) % 5)
    known, others = split(str(path), None, seed=1)
    assert (len(known), len(others)) == (40, 10)
    assert not set(known.ids) & set(others.ids)
    assert split(str(path), None, seed=2)[1].ids != others.ids
    with pytest.raises(UserError, match="held-out"):
        split(str(path), str(path), seed=1)
    zoo = split("zoo:digits", None, seed=0)
    assert not set(zoo[0].ids) & set(zoo[1].ids)


def test_a_budget_chooses_the_recipe() -> None:
    model, data = load_model("digits-standard"), load_samples("digits", split="train").take(300)
    threat = (ThreatModel.parse("linf:0.05"),)
    short = within(0.01, model, data, threat, name=None)
    assert (short.objective, short.epochs) == ("n-fgsm", 1)
    long = within(10_000, model, data, threat, name=None)
    assert (long.objective, long.epochs) == ("pgd-at", 60)
    assert within(0.01, model, data, threat, name="trades").objective == "trades"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipe", "magic"], "a recipe"),
        (["--max-clean-drop", "5"], "max-clean-drop"),
        (["--epochs", "0"], "one epoch"),
        (["--epochs", "3", "--budget", "1m"], "leave one"),
        (["--resume"], "--out"),
        (["--recipe", "trades", "--threat", "linf:0.1", "--threat", "l2:0.5"], "several threats"),
        (["--recipe", "patch-at"], "for a patch"),
        (["--recipe", "trades:gamma=1"], "beta"),
        (["--recipe", "fast:ema=2"], "ema=2"),
        (["--recipe", "pgd-at:steps=none"], "a number"),
        (["--recipe", "pgd-at", "--threat", "patch:2x2"], "for a patch"),
    ],
)
def test_wrong_flags_are_told_before_anything_is_loaded(
    run: Run, words: list[str], message: str
) -> None:
    assert message in run("harden", "zoo:digits-standard", *words, code=2).stderr


@pytest.mark.parametrize(
    ("shape", "label", "expected"),
    [((1, 8, 8), 11, "labels from 0 to 9"), ((3, 8, 8), 1, "pictures of shape (3, 8, 8)")],
)
@pytest.mark.parametrize("wrong", ["data", "held-out"])
def test_data_that_the_model_does_not_fit_is_told_before_training(
    run: Run, tmp_path: Path, wrong: str, shape: tuple[int, ...], label: int, expected: str
) -> None:
    files = {}
    for place, (size, top) in {wrong: (shape, label), "other": ((1, 8, 8), 1)}.items():
        files[place] = tmp_path / f"{place}.npz"
        x = np.random.default_rng(len(files)).random((12, *size), dtype=np.float32)
        np.savez(files[place], x=x, y=np.arange(12) % 2 * top)
    data, held_out = files[wrong], files["other"]
    if wrong == "held-out":
        data, held_out = held_out, data
    done = run(
        "harden", "zoo:digits-standard", "--data", str(data), "--held-out", str(held_out),
        "--threat", "linf:0.1", "--out", str(tmp_path / "out"), code=4,
    )  # fmt: skip
    assert expected in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_paired_interval_is_the_published_one() -> None:
    # Newcombe 1998, table II: 36 of 50 right on both sides, 12 and 2 on one.
    low, high = paired_interval(both=36, gained=12, lost=2, samples=50)
    assert (low, high) == (pytest.approx(0.0569, abs=1e-4), pytest.approx(0.3404, abs=1e-4))
    assert paired_interval(36, 2, 12, 50) == (pytest.approx(-high), pytest.approx(-low))


@pytest.mark.parametrize("shares", [(0.4, 0.3, 0.1), (0.1, 0.7, 0.05), (0.5, 0.02, 0.2)])
def test_a_paired_interval_holds_the_truth_as_often_as_it_says(
    shares: tuple[float, float, float],
) -> None:
    n, covered, wanted = 20, 0.0, shares[1] - shares[2]
    neither = 1 - sum(shares)
    for both, gained, lost in product(range(n + 1), repeat=3):
        rest = n - both - gained - lost
        if rest < 0:
            continue
        counts = (both, gained, lost, rest)
        ways = factorial(n) / prod(map(factorial, counts))
        low, high = paired_interval(both, gained, lost, n)
        if low <= wanted <= high:
            covered += ways * prod(p**k for p, k in zip((*shares, neither), counts, strict=True))
    assert 0.93 < covered < 0.99


def test_what_changed_is_counted_sample_by_sample_whatever_attacked() -> None:
    data = load_samples("digits").take(30)
    before = rk.audit(load_model("digits-standard"), data, "linf:0.1", attacks=["fgsm"])
    after = rk.audit(load_model("digits-adversarial"), data, "linf:0.1", attacks=["fgsm", "pgd"])
    clean, robust = changes(before, after)
    assert (clean.before, clean.after) == (before.clean_accuracy, after.clean_accuracy)
    assert (robust.before, robust.after) == (before.robust_accuracy, after.robust_accuracy)
    held = [{one.id for one in log.samples if one.outcome == "robust"} for log in (before, after)]
    assert (robust.gained, robust.lost) == (len(held[1] - held[0]), len(held[0] - held[1]))
    assert robust.difference == pytest.approx(robust.after - robust.before)
    assert lines((robust,))[0].startswith("robust accuracy under linf:0.1: +")
