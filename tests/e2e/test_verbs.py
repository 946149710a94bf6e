"""`list`, `inspect`, `explain`, `doctor`: what they print, and what can be wrong."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from robustkit import zoo
from robustkit.attacks import catalogue
from robustkit.attacks.cascades import SUITES
from robustkit.audit.findings import FINDINGS
from robustkit.threat import THREATS
from robustkit.verbs import doctor
from robustkit.verbs.listing import SECTIONS

DIGITS = Path(zoo.__file__).parent / "digits-standard.safetensors"


def test_every_attack_is_listed_with_norms_access_cost_and_paper(run) -> None:
    rows = {row["name"]: row for row in json.loads(run("list", "attacks", "--json").stdout)}
    assert list(rows) == list(catalogue())
    for name, info in catalogue().items():
        assert rows[name]["norms"].split() == list(info.norms)
        assert (rows[name]["access"], rows[name]["cost"]) == (info.access, info.cost)
        assert rows[name]["paper"] == info.paper


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_is_a_table_and_json(run, section: str) -> None:
    assert run("list", section).stdout.startswith(section)
    assert isinstance(json.loads(run("list", section, "--json").stdout), list)


def test_without_a_section_everything_is_listed(run) -> None:
    listed = json.loads(run("list", "--json").stdout)
    assert list(listed) == list(SECTIONS)
    assert {row["name"] for row in listed["suites"]} == set(SUITES)
    assert {row["name"] for row in listed["threats"]} == set(THREATS)
    assert {f"zoo:{name}" for name in zoo.MODELS} <= {row["name"] for row in listed["models"]}
    assert "zoo:digits" in {row["name"] for row in listed["datasets"]}


def test_listing_what_there_is_not(run) -> None:
    assert "attacks" in run("list", "atacks", code=2).stderr


def test_inspecting_weights(run) -> None:
    assert "can be loaded" in run("inspect", DIGITS).stdout
    found = json.loads(run("inspect", DIGITS, "--json").stdout)
    assert found["form"] == "safetensors"
    assert found["loadable"]
    assert ["0.weight", "F32", [32, 1, 3, 3]] in found["tensors"]


class Payload:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return print, ("it ran",)


def test_inspecting_a_pickle_says_what_it_would_run_and_refuses(run, folder) -> None:
    (folder / "evil.pt").write_bytes(pickle.dumps(Payload()))
    result = run("inspect", "evil.pt", code=4)
    assert "would run: builtins.print('it ran')" in result.stdout.replace('"', "'")
    assert "refused" in result.stdout
    assert json.loads(run("inspect", "evil.pt", "--json", code=4).stdout)["dangers"]


def test_inspecting_many_tensors_shows_some(run, folder) -> None:
    torch.save({f"w{n:03}\x1b[31m": torch.zeros(1) for n in range(60)}, folder / "many.pt")
    text = run("inspect", "many.pt").stdout
    assert "and 20 more" in text
    assert "\x1b" not in text


def test_inspecting_nothing(run) -> None:
    assert "nothing.pt" in run("inspect", "nothing.pt", code=2).stderr
    run("inspect", code=2)


@pytest.mark.parametrize("name", FINDINGS)
def test_every_finding_is_explained(run, name: str) -> None:
    text = " ".join(run("explain", name.lower()).stdout.split())
    info = FINDINGS[name]
    for part in (name, info.title, info.severity, *info.references):
        assert " ".join(part.split()) in text
    assert json.loads(run("explain", name, "--json").stdout)["meaning"] == info.meaning


def test_explaining_nothing_lists_everything(run) -> None:
    assert set(json.loads(run("explain", "--json").stdout)) == set(FINDINGS)
    assert "RK-SOFTMAX" in run("explain").stdout


def test_explaining_what_there_is_not(run) -> None:
    assert "RK-SOFTMAX" in run("explain", "RK-SOFTMAXX", code=2).stderr
    assert "lists them all" in run("explain", "?", code=2).stderr


def test_the_doctor_finds_this_machine_fit(run) -> None:
    checks = {row["name"]: row for row in json.loads(run("doctor", "--json").stdout)}
    assert checks["torch"]["found"] == torch.__version__
    assert {"python", "devices", "threads", "disk", "environment"} <= set(checks)
    assert all(row["fix"] for row in checks.values() if row["status"] != "ok")
    assert "torch" in run("doctor").stdout


def test_the_doctor_flags_unrestricted_unpickling(run, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    checks = {row["name"]: row for row in json.loads(run("doctor", "--json").stdout)}
    assert checks["environment"]["status"] == "warning"
    assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" in checks["environment"]["fix"]


def test_the_doctor_says_how_to_install_an_extra(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    extras = {check.name: check for check in doctor.examine() if check.name.startswith("extra")}
    assert len(extras) == len(doctor.EXTRAS)
    assert extras["extra timm"].fix.endswith("-m pip install 'timm>=1.0'")
    assert "'foolbox" in extras["extra peers"].fix
    assert f"pip install {zoo.__package__.split('.')[0]}" not in "".join(
        check.fix for check in extras.values()
    )


def test_the_doctor_is_broken_without_torch(run, monkeypatch) -> None:
    broken = doctor.Check("torch", "broken", "no module", "run: pip install torch")
    monkeypatch.setattr(doctor, "examine", lambda: [broken])
    assert "fix: run: pip install torch" in run("doctor", code=3).stdout


def test_data_of_a_strange_shape(run, folder) -> None:
    np.savez(folder / "flat.npz", x=np.zeros((4, 64), np.uint8), y=np.zeros(4, np.int64))
    assert "fix:" in run("audit", "zoo:digits-standard", "--data", "flat.npz", code=4).stderr
