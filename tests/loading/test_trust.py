"""What a file may do when a person says so, for one run; and that nothing else implies it."""

import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from robustkit.cli import cli
from robustkit.errors import RefusedError, UserError
from robustkit.loading import Trust, load
from robustkit.loading.isolated import _read, read_isolated
from robustkit.options import OPTIONS
from tests.loading.corpus import MARK, TOUCH, Runs, legacy, network, torch_zip, weights

NETS = """
from torch import nn

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        return self.linear(x.flatten(1))

def own():
    return Own()

def sequence():
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3))

number = 7
"""

OWN = ("trusted_nets:Own", "torch.nn:Linear")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "trusted_nets.py").write_text(NETS)
    return tmp_path


@pytest.fixture
def whole(here: Path) -> Path:
    """A checkpoint that is the pickle of a whole network."""
    import trusted_nets

    torch.manual_seed(0)
    path = here / "whole.pt"
    path.write_bytes(torch_zip(trusted_nets.Own()))
    return path


@pytest.fixture
def scripted(here: Path) -> Path:
    path = here / "scripted.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(network().eval(), torch.zeros(2, 1, 2, 2)), str(path))
    return path


@pytest.fixture
def exported(here: Path) -> Path:
    path = here / "exported.pt2"
    batch = torch.export.Dim("batch", min=1, max=64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            network().eval(), (torch.zeros(3, 1, 2, 2),), dynamic_shapes=({0: batch},)
        )
        torch.export.save(program, path)
    return path


X = torch.linspace(0, 1, 20).reshape(5, 1, 2, 2)


def answers(model, expected: nn.Module) -> None:
    """The model gives what the network gives, and has a gradient."""
    x = X.clone().requires_grad_()
    with model.frozen():
        logits = model(x)
        assert bool(model.gradient(logits, x).abs().sum() > 0)
    torch.testing.assert_close(logits, expected(X))


@pytest.mark.parametrize(
    "trust",
    [
        Trust(),
        Trust(classes=("trusted_nets:Own",)),
        Trust(torchscript=True, pt2=True),
    ],
)
def test_a_whole_network_needs_each_of_its_classes(whole: Path, trust: Trust) -> None:
    with pytest.raises(RefusedError, match=r"torch\.nn\.modules\.linear\.Linear"):
        load(whole, trust=trust)


def test_trusted_classes_make_a_whole_network(whole: Path) -> None:
    model = load(whole, trust=Trust(classes=OWN))
    answers(model, torch.load(whole, weights_only=False))
    assert model.notes[0] == (
        "UNSAFE: the file was trusted with --trust-class trusted_nets:Own torch.nn:Linear "
        "and read in this process"
    )


def test_trust_in_classes_is_no_trust_in_calls(here: Path) -> None:
    (here / "mixed.pt").write_bytes(
        torch_zip({"state_dict": weights(), "x": Runs(os.system, TOUCH)})
    )
    with pytest.raises(RefusedError, match="system"):
        load(here / "mixed.pt", trust=Trust(classes=OWN))
    assert not (here / MARK).exists()


@pytest.mark.parametrize("name", ["trusted_nets:own", "trusted_nets:number", "trusted_nets:none"])
def test_what_is_no_class_cannot_be_trusted(whole: Path, name: str) -> None:
    with pytest.raises(UserError):
        load(whole, trust=Trust(classes=(name,)))


def test_an_unsafe_pickle_runs_in_a_child_and_gives_its_weights_back(here: Path) -> None:
    where = here / "ran"
    content = {"epoch": 3, "state_dict": weights(), "hook": Runs(os.mkdir, str(where))}
    (here / "unsafe.pt").write_bytes(torch_zip(content))
    (here / "touch.pt").write_bytes(
        torch_zip({"state_dict": weights(), "x": Runs(os.system, TOUCH)})
    )
    trust = Trust(unsafe_pickle=True)
    for other in (Trust(), Trust(torchscript=True, pt2=True)):
        with pytest.raises(RefusedError, match="mkdir"):
            load(here / "unsafe.pt", arch="trusted_nets:sequence", trust=other)
    assert not where.exists()
    model = load(here / "unsafe.pt", arch="trusted_nets:sequence", trust=trust)
    assert where.exists(), "it was let run"
    answers(model, network())
    assert any(
        note.startswith("UNSAFE") and "--allow-unsafe-pickle" in note for note in model.notes
    )
    assert any("weights taken from 'state_dict'" in note for note in model.notes)


@pytest.mark.slow
def test_the_child_works_in_a_folder_of_its_own_without_our_secrets(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBUSTKIT_SECRET", "key")
    told = here / "told"
    command = f"touch {MARK}; env > {told}"
    (here / "touch.pt").write_bytes(torch_zip({"net": weights(), "x": Runs(os.system, command)}))
    load(here / "touch.pt", arch="trusted_nets:sequence", trust=Trust(unsafe_pickle=True))
    assert not (here / MARK).exists()
    assert "ROBUSTKIT_SECRET" not in told.read_text()


@pytest.mark.slow
def test_a_child_that_fails_is_told_with_its_last_words(here: Path) -> None:
    (here / "bad.pt").write_bytes(legacy(Runs(int, "no number")))
    with pytest.raises(RefusedError, match="invalid literal for int"):
        load(here / "bad.pt", arch="trusted_nets:sequence", trust=Trust(unsafe_pickle=True))


@pytest.mark.slow
def test_the_weights_of_every_form_come_back_from_a_child(whole, scripted, exported) -> None:
    for path, risk in ((whole, "classes"), (scripted, "torchscript"), (exported, "pt2")):
        found, _ = read_isolated(path, risk, classes=OWN)
        assert sorted(part.shape for part in found.values()) == [(3,), (3, 4)]


def test_an_unsafe_pickle_without_a_network_is_asked_for_one(here: Path, monkeypatch) -> None:
    (here / "unsafe.pt").write_bytes(torch_zip({"net": weights(), "x": Runs(os.system, TOUCH)}))
    monkeypatch.setattr("robustkit.loading.files.read_isolated", lambda *_, **__: (weights(), []))
    with pytest.raises(UserError, match="--arch"):
        load(here / "unsafe.pt", trust=Trust(unsafe_pickle=True))


def test_a_torchscript_archive_runs_only_where_it_is_allowed(scripted: Path) -> None:
    for trust in (Trust(), Trust(classes=OWN, unsafe_pickle=True, pt2=True)):
        with pytest.raises(RefusedError, match="--allow-torchscript"):
            load(scripted, trust=trust)
    model = load(scripted, trust=Trust(torchscript=True))
    answers(model, network())
    assert "--allow-torchscript" in model.notes[0]


def test_an_exported_archive_runs_only_where_it_is_allowed(exported: Path) -> None:
    for trust in (Trust(), Trust(classes=OWN, unsafe_pickle=True, torchscript=True)):
        with pytest.raises(RefusedError, match="--allow-pt2"):
            load(exported, trust=trust)
    model = load(exported, trust=Trust(pt2=True))
    answers(model, network())
    assert "--allow-pt2" in model.notes[0]


def test_weights_of_torchscript_fill_a_network_of_ones_own(scripted: Path, monkeypatch) -> None:
    def here_instead(path, risk, *, classes, key):
        return _read(path, risk, classes, key)

    monkeypatch.setattr("robustkit.loading.files.read_isolated", here_instead)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = load(scripted, arch="trusted_nets:sequence", trust=Trust(torchscript=True))
    answers(model, network())
    assert isinstance(model.module, nn.Sequential)


def test_a_permission_that_was_not_needed_leaves_no_trace(here: Path) -> None:
    (here / "safe.pt").write_bytes(torch_zip(weights()))
    every = Trust(OWN, unsafe_pickle=True, torchscript=True, pt2=True)
    model = load(here / "safe.pt", arch="trusted_nets:sequence", trust=every)
    answers(model, network())
    assert not any("UNSAFE" in note for note in model.notes)


def test_a_prefix_is_taken_as_asked_and_told(here: Path) -> None:
    named = {f"student.{name}": part for name, part in weights().items()}
    extra: dict[str, Tensor] = {"teacher.weight": torch.ones(2)}
    (here / "two.pt").write_bytes(torch_zip(named | extra))
    with pytest.raises(RefusedError, match="not in the model"):
        load(here / "two.pt", arch="trusted_nets:sequence")
    model = load(here / "two.pt", arch="trusted_nets:sequence", prefix="student.")
    answers(model, network())
    assert "1 other tensors left out: teacher.weight" in model.notes
    with pytest.raises(UserError, match=r"--strip-prefix no\."):
        load(here / "two.pt", arch="trusted_nets:sequence", prefix="no.")


def test_the_report_says_what_was_allowed(scripted: Path) -> None:
    np.savez("data.npz", x=X.numpy(), y=[0, 1, 2, 0, 1])
    words = ["audit", str(scripted), "--data", "data.npz", "--attack", "fgsm", "--out", "run"]
    refused = CliRunner().invoke(cli, words, prog_name="robustkit")
    assert refused.exit_code == 4
    assert not Path("run").exists()
    result = CliRunner().invoke(cli, [*words, "--allow-torchscript"], prog_name="robustkit")
    assert result.exit_code == 0, result.output
    record = json.loads(Path("run/audit.json").read_text())
    assert any("UNSAFE" in note for note in record["model"]["notes"])
    assert record["plan"]["allow_torchscript"] is True
    assert "--allow-torchscript" in Path("run/report.html").read_text()


def test_a_variable_of_the_environment_allows_as_the_flag_does(scripted: Path, monkeypatch) -> None:
    np.savez("data.npz", x=X.numpy(), y=[0, 1, 2, 0, 1])
    words = ["audit", str(scripted), "--data", "data.npz", "--attack", "fgsm", "--out", "run"]
    monkeypatch.setenv("ROBUSTKIT_ALLOW_TORCHSCRIPT", "0")
    assert CliRunner().invoke(cli, words, prog_name="robustkit").exit_code == 4
    monkeypatch.setenv("ROBUSTKIT_ALLOW_TORCHSCRIPT", "1")
    result = CliRunner().invoke(cli, words, prog_name="robustkit")
    assert result.exit_code == 0, result.output
    record = json.loads(Path("run/audit.json").read_text())
    assert record["plan"]["allow_torchscript"] is True
    assert any("UNSAFE" in note for note in record["model"]["notes"])


def test_only_what_is_unsafe_has_a_variable() -> None:
    named = {one.variable for one in OPTIONS.values() if one.variable}
    assert named == {
        "ROBUSTKIT_TRUST_CLASS", "ROBUSTKIT_ALLOW_UNSAFE_PICKLE", "ROBUSTKIT_ALLOW_TORCHSCRIPT",
        "ROBUSTKIT_ALLOW_PT2", "ROBUSTKIT_ALLOW_ONNX_EXTERNAL",
    }  # fmt: skip
