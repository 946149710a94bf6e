"""Nothing finished is lost: a run that was cut goes on where it stopped and ends the same."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import robustkit as rk
from robustkit.audit.conduct import conduct
from robustkit.audit.ledger import FILE
from robustkit.audit.plan import make_plan
from robustkit.errors import PlanErrors, ToolError, UserError
from robustkit.zoo import load_model, load_samples

UNTIMED = {"seconds", "created", "plan"}


def plan(folder: Path | None, **flags: object) -> "rk.AuditLog":
    made = make_plan(
        threats=["linf:0.1"], attacks=["fgsm", "pgd:steps=5"], samples=40,
        out=str(folder) if folder else None, trials=False, **flags,
    )  # fmt: skip
    return conduct(made, model=load_model("digits-standard"), samples=load_samples("digits"))


def stripped(log: rk.AuditLog) -> object:
    """The log without times."""

    def clean(value: object) -> object:
        if isinstance(value, dict):
            return {key: clean(part) for key, part in value.items() if key not in UNTIMED}
        return [clean(part) for part in value] if isinstance(value, list) else value

    return clean(log.model_dump(mode="json")), [s.model_dump() for s in log.samples]


def test_a_torn_ledger_is_finished_to_the_same_record(tmp_path: Path) -> None:
    whole = plan(tmp_path / "whole")
    cut = tmp_path / "cut"
    shutil.copytree(tmp_path / "whole" / "units", cut / "units")
    lines = (tmp_path / "whole" / FILE).read_text().splitlines(keepends=True)
    (cut / FILE).write_text("".join(lines[:-1]) + lines[-1][:25])
    again = plan(cut, resume=True)
    assert stripped(again) == stripped(whole)


def test_a_finished_run_is_resumed_without_a_forward(tmp_path: Path) -> None:
    plan(tmp_path)
    model = load_model("digits-standard")
    made = make_plan(
        threats=["linf:0.1"], attacks=["fgsm", "pgd:steps=5"], samples=40, out=str(tmp_path),
        trials=False, resume=True,
    )  # fmt: skip
    conduct(made, model=model, samples=load_samples("digits"))
    probes, saliency = 2 * 16, 8 * 2 * 16
    assert model.backwards <= probes + saliency, "no attack is run again"


def test_a_run_is_never_overwritten_nor_mixed(tmp_path: Path) -> None:
    plan(tmp_path)
    before = (tmp_path / "audit.json").read_bytes()
    with pytest.raises(UserError, match="--resume"):
        plan(tmp_path)
    with pytest.raises(UserError, match="seed: was 0, is 1"):
        plan(tmp_path, resume=True, seed=1)
    assert (tmp_path / "audit.json").read_bytes() == before


def test_a_folder_that_cannot_be_written_is_no_warning(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(ToolError, match="written"):
        plan(blocked)


def test_the_record_does_not_depend_on_the_batch_size() -> None:
    def verdicts(size: int) -> list[tuple[str, str]]:
        return [(sample.id, sample.outcome) for sample in plan(None, batch_size=size).samples]

    assert verdicts(1) == verdicts(7) == verdicts(64)


def test_shards_are_disjoint_and_complete() -> None:
    parts = [plan(None, shard=f"{i}/2") for i in (1, 2)]
    names = [sample.id for part in parts for sample in part.samples]
    assert len(set(names)) == len(names) == 80


def test_the_record_says_what_the_design_promises(tmp_path: Path) -> None:
    log = plan(tmp_path, at_least=["0.99"])
    record = json.loads((tmp_path / "audit.json").read_text())
    assert {"schema_version", "status", "model", "data", "threats", "findings", "trusted", "gates",
            "environment", "seed", "seconds"} <= record.keys()  # fmt: skip
    threat = record["threats"][0]
    assert threat["samples"] == 40
    assert record["gates"][0]["verdict"] == "FAIL"
    robust = sum(sample.outcome == "robust" for sample in log.samples)
    assert threat["robust_accuracy"] == robust / 40
    assert (tmp_path / "report.html").stat().st_size > 1000


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(PlanErrors) as caught:
        make_plan(threats=["linf"], samples=0, budget="soon", gate="maybe", shard="3/2")
    assert len(caught.value.errors) == 5


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 8, 6), (4, 6, 6)])
def test_any_channels_sides_and_classes(classes: int, shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    size = shape[0] * shape[1] * shape[2]
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(size, classes))
    x = torch.rand(12, *shape)
    y = module(x).argmax(1)
    for dtype in (torch.uint8, torch.float32):
        pictures = (x * 255).round().to(dtype) if dtype == torch.uint8 else x
        log = rk.audit(module, (pictures, y), "linf:0.02", attacks=["fgsm", "apgd-dlr:steps=5"])
        assert log.threats[0].samples == 12


def test_a_budget_of_zero_changes_nothing() -> None:
    log = rk.audit("zoo:digits-standard", "zoo:digits", "linf:0", attacks=["pgd"], samples=20)
    assert log.robust_accuracy == log.clean_accuracy


def test_one_sample_is_enough_and_a_wrong_label_is_refused() -> None:
    samples = load_samples("digits")
    one = (samples.x[:1], samples.y[:1])
    assert rk.audit("zoo:digits-standard", one, "linf:0.1", attacks=["pgd"]).data.samples == 1
    wrong = (samples.x[:2], torch.tensor([1, 10]))
    with pytest.raises(rk.RefusedError, match="label 10"):
        rk.audit("zoo:digits-standard", wrong, "linf:0.1", attacks=["pgd"])


def test_misclassified_pictures_are_never_attacked() -> None:
    model, samples = load_model("digits-standard"), load_samples("digits").take(30)
    wrong = (samples.y + 1) % 10
    before = model.backwards
    log = rk.audit(model, (samples.x, wrong), "linf:0.3", attacks=["pgd"])
    assert log.threats[0].attacks[0].attempted == int(log.clean_accuracy * 30)
    assert model.backwards == before
