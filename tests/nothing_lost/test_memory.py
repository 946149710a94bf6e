"""Memory that runs out at any step: that unit goes on with half the batch, and nothing changes."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import robustkit as rk
from robustkit.audit.conduct import conduct
from robustkit.audit.device import halving
from robustkit.audit.plan import make_plan
from robustkit.errors import ToolError
from robustkit.records import AuditLog
from robustkit.zoo import load_model, load_samples


class Short(torch.nn.Module):
    """A model whose n-th call with more than one picture finds no memory, once."""

    def __init__(self, inner: torch.nn.Module, fails_at: int = 0) -> None:
        super().__init__()
        self.inner, self.fails_at, self.calls = inner, fails_at, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += len(x) > 1
        if len(x) > 1 and self.calls == self.fails_at:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        logits: Tensor = self.inner(x)
        return logits


def audited(fails_at: int, out: Path | None = None) -> tuple[AuditLog, int]:
    """The log of an audit in which memory runs out at that call, and how many calls it took."""
    module = Short(load_model("digits-standard").module, fails_at)
    model = rk.Classifier(module, preprocess=load_model("digits-standard").preprocess, name="short")
    plan = make_plan(
        threats=["linf:0.1"], attacks=["fgsm", "pgd:steps=4", "square:queries=4"], samples=32,
        batch_size=32, trace=True, trials=False, out=str(out) if out else None,
    )  # fmt: skip
    return conduct(plan, model=model, samples=load_samples("digits")), module.calls


def outcomes(log: AuditLog) -> list[tuple[str, str, str]]:
    return [(sample.id, sample.outcome, sample.attack) for sample in log.samples]


@pytest.mark.parametrize("apart", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_out_of_memory_at_every_step_changes_no_verdict(apart: int) -> None:
    log, calls = audited(0)
    assert calls > 30
    assert {attack.batch_size for attack in log.threats[0].attacks} == {32}
    halved = 0
    for fails_at in range(1, calls + 1, apart):
        short, _ = audited(fails_at)
        assert outcomes(short) == outcomes(log), f"call {fails_at}"
        assert [finding.id for finding in short.findings] == [f.id for f in log.findings]
        sizes = [attack.batch_size for attack in short.threats[0].attacks]
        assert sorted(sizes) in ([32, 32, 32], [16, 32, 32]), "only that unit is halved"
        halved += 16 in sizes
    assert halved >= 10 / apart, "the attacks themselves were met"


def test_the_report_of_a_run_says_with_which_batch(tmp_path: Path) -> None:
    log, _ = audited(9, tmp_path / "short")
    written = json.loads((tmp_path / "short/audit.json").read_text())
    sizes = [attack["batch_size"] for attack in written["threats"][0]["attacks"]]
    assert sizes == [attack.batch_size for attack in log.threats[0].attacks]
    assert 16 in sizes


def test_one_picture_that_does_not_fit_is_an_error_in_words() -> None:
    def never(batch_size: int) -> None:
        raise MemoryError

    with pytest.raises(ToolError, match="memory for one picture"):
        halving(never, 8)


def test_other_errors_are_not_taken_for_it() -> None:
    def broken(batch_size: int) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        halving(broken, 8)
