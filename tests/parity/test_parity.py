"""Our attacks and independent implementations of them on the reference models: as good or better.

Robust accuracy within half a point, sizes within 3 %; where a peer is weaker the table says why.
"""

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from robustkit.attacks import catalogue, info
from robustkit.attacks.attack import Attack
from robustkit.audit.attacking import Result, attack
from robustkit.loading import load, open_samples
from robustkit.model import Classifier
from tests.parity.cases import ELSEWHERE, MODELS, NO_PEER, PARITY, Case
from tests.parity.libraries import implementation

HALF_A_POINT = 0.005 + 1e-9
SLACK = 1.03


def _parameters(kind: str) -> list[object]:
    return [
        pytest.param(
            case, id=f"{name}-{case.theirs}-{case.threat}-{case.model}".replace("/", "_"),
            marks=[pytest.mark.slow] if case.slow else [],
        )
        for name, cases in PARITY.items()
        if name in catalogue() and info(name).kind == kind
        for case in cases
    ]  # fmt: skip


@cache
def opened(folder: Path, name: str, count: int) -> tuple[Classifier, Tensor, Tensor, int]:
    """A model with those of its first `count` pictures that it gets right, and `count`."""
    arch, preprocess, data = MODELS[name]
    model = load(folder / f"{name}.safetensors", arch=arch, preprocess=preprocess)
    samples = open_samples(folder / f"{data}.npz", samples=count)
    x, y = samples.pixels(slice(0, count)), samples.y
    with model.frozen(), torch.no_grad():
        right = model(x).argmax(1) == y
    return model, x[right], y[right], len(x)


def ran(case: Case, chosen: Attack | str, folder: Path) -> tuple[Result, int]:
    model, x, y, count = opened(folder, case.model, case.samples)
    target = (y + 1) % 10 if case.targeted else None
    return attack(chosen, model, x, y, case.threat, target=target, batch_size=500), count


@pytest.mark.parametrize("case", _parameters("fixed-budget"))
def test_robust_accuracy_is_theirs_or_lower(case: Case, reference: Path) -> None:
    theirs = implementation(case.theirs)
    robust = []
    for chosen in (case.own, theirs):
        result, count = ran(case, chosen, reference)
        robust.append(int((~result.fooled).sum()) / count)
    assert robust[0] <= robust[1] + HALF_A_POINT
    if case.weaker:
        assert robust[0] < robust[1] - HALF_A_POINT, f"no longer true: {case.weaker}"
    else:
        assert robust[0] >= robust[1] - HALF_A_POINT
    assert 0.05 < robust[0] < 0.95, "a threat at which attacks can differ"


@pytest.mark.parametrize("case", _parameters("minimum-norm"))
def test_the_median_size_is_theirs_or_smaller(case: Case, reference: Path) -> None:
    theirs = implementation(case.theirs)
    own, other = (
        float(result.size.masked_fill(~result.fooled, torch.inf).median())
        for result, _ in (ran(case, chosen, reference) for chosen in (case.own, theirs))
    )
    assert own <= SLACK * other
    assert own < torch.inf
    if case.weaker:
        assert other > SLACK * own, f"no longer true: {case.weaker}"


def test_every_attack_has_a_row_or_a_reason() -> None:
    named = set(PARITY) | set(NO_PEER) | set(ELSEWHERE)
    missing = sorted(set(catalogue()) - named)
    assert not missing, f"add to PARITY, or say in NO_PEER why nobody has it: {missing}"
    assert len(named) == len(PARITY) + len(NO_PEER) + len(ELSEWHERE)
    root = Path(__file__).parents[2]
    assert all((root / place).is_file() for place in ELSEWHERE.values())
    assert named <= set(catalogue()), "an attack that is gone still has a row"


def test_a_row_compares_an_attack_with_its_namesake() -> None:
    for name, cases in PARITY.items():
        assert cases
        assert all(case.own.partition(":")[0] == name for case in cases)
