"""What is audited: flags before markers before the ini file before conftest.py."""

from pathlib import Path
from typing import Any

import pytest

from robustkit.errors import UserError
from robustkit.testing import keys
from robustkit.testing.audits import worker_device
from robustkit.testing.flags import AUDITING
from robustkit.testing.settings import Settings, checked, resolve, slip

pytest_plugins = "pytester"


def test_every_setting_is_a_flag_and_has_the_flags_default() -> None:
    defaults = {one.dest: one.default for one in AUDITING if not one.multiple}
    assert defaults.keys() == vars(Settings()).keys() - {"threat", "attack"}
    for name, default in defaults.items():
        assert getattr(Settings(), name) == default


def test_who_wins(pytester: Any) -> None:
    pytester.makeini(
        "[pytest]\nrobust_seed = 3\nrobust_suite = standard\nrobust_samples = 5\n"
        "robust_threat =\n  linf:0.1\n  l2:0.5\n"
    )
    pytester.makeconftest(
        "def pytest_robustkit_settings():\n"
        "    return {'budget': '9s', 'suite': 'quick', 'samples': 1, 'seed': 1}\n"
    )
    config = pytester.parseconfigure("--robust-seed=4", "--robust-attack=pgd", "--robust-attack=x")
    found = resolve(
        config, marks=[{"samples": 7}, {"samples": 6, "suite": "autoattack", "seed": 2}]
    )
    assert found.seed == 4
    assert (found.samples, found.suite) == (7, "autoattack")
    assert (found.budget, found.threat) == ("9s", ("linf:0.1", "l2:0.5"))
    assert found.attack == ("pgd", "x")


def test_files_are_looked_for_where_they_were_named(pytester: Any) -> None:
    pytester.makeini("[pytest]\nrobust_model = m.bin\nrobust_arch = n.py:make\nrobust_data = zoo:d")
    for name in ("m.bin", "n.py"):
        (pytester.path / name).touch()
    found = resolve(pytester.parseconfigure())
    assert found.model == str(pytester.path / "m.bin")
    assert found.arch == f"{pytester.path / 'n.py'}:make"
    assert found.data == "zoo:d"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"treat": "linf:0.1"}, "did you mean threat"),
        ({"samples": "many"}, "a whole number for samples"),
        ({"samples": True}, "a whole number"),
        ({"threat": 3}, "text, or a list of texts"),
        ({"gate": "perhaps"}, "no-breach or proven or point"),
        ({"suite": ["quick"]}, "text for suite"),
    ],
)
def test_slips_are_said(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        checked(given, "a marker", Path())
    assert said in slip(pytest.mark.robust(**given).mark, Path())


def test_marker_takes_no_bare_values() -> None:
    assert 'write robust(threat="linf:8/255")' in slip(pytest.mark.robust("linf:0.1").mark, Path())


class TestKey:
    @pytest.fixture
    def settings(self, tmp_path: Path) -> Settings:
        for name in ("m.bin", "d.npz", "nets.py", "layers.py"):
            (tmp_path / name).write_text(name)
        return Settings(
            model=str(tmp_path / "m.bin"), data=str(tmp_path / "d.npz"), threat=("linf:0.1",),
            arch=f"{tmp_path / 'nets.py'}:make",
        )  # fmt: skip

    def key(self, settings: Settings) -> str:
        model, data = keys.model_key(str(settings.model)), keys.data_key(str(settings.data))
        assert model
        assert data
        return keys.audit_key(settings, model, data)

    @pytest.mark.parametrize("name", ["m.bin", "d.npz", "nets.py", "layers.py"])
    def test_content_of_files_counts(self, settings: Settings, tmp_path: Path, name: str) -> None:
        before = self.key(settings)
        assert self.key(settings) == before
        (tmp_path / name).write_text("changed")
        assert self.key(settings) != before

    @pytest.mark.parametrize(
        "changed",
        [
            {"threat": ("linf:0.2",)}, {"seed": 1}, {"samples": 9}, {"suite": "quick"},
            {"attack": ("pgd",)}, {"preprocess": "half"}, {"device": "cuda"},
        ],
    )  # fmt: skip
    def test_what_decides_the_result_counts(
        self, settings: Settings, changed: dict[str, Any]
    ) -> None:
        assert self.key(Settings(**{**vars(settings), **changed})) != self.key(settings)

    @pytest.mark.parametrize(
        "changed", [{"budget": "1s"}, {"gate": "point"}, {"undecided": "fail"}, {"batch_size": "9"}]
    )
    def test_what_does_not_decide_it_does_not(
        self, settings: Settings, changed: dict[str, Any]
    ) -> None:
        assert self.key(Settings(**{**vars(settings), **changed})) == self.key(settings)

    def test_place_of_the_data_does_not_count_and_names_in_a_folder_do(
        self, tmp_path: Path
    ) -> None:
        for folder in ("a", "b"):
            (tmp_path / folder / "cat").mkdir(parents=True)
            (tmp_path / folder / "cat" / "1.png").write_text("x")
        a, b = (keys.data_key(str(tmp_path / folder)) for folder in ("a", "b"))
        assert a == b
        (tmp_path / "b" / "cat" / "1.png").rename(tmp_path / "b" / "cat" / "2.png")
        assert keys.data_key(str(tmp_path / "b")) != a

    def test_package_counts_whole_and_is_not_imported(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "pkgx" / "deep").mkdir(parents=True)
        for name in ("__init__.py", "nets.py", "deep/part.py"):
            (tmp_path / "pkgx" / name).write_text("raise SystemExit('imported')")
        monkeypatch.chdir(tmp_path)
        before = keys.code_digest("pkgx.nets:make")
        (tmp_path / "pkgx" / "deep" / "part.py").write_text("other")
        assert keys.code_digest("pkgx.nets:make") != before

    def test_names_without_files_have_no_key(self) -> None:
        assert keys.model_key("torchvision:resnet18") is None
        assert keys.data_key("py:pkg.mod:factory") is None
        assert keys.model_key("zoo:digits-standard") == "zoo:digits-standard"


def test_model_in_memory_is_known_by_weights_and_preprocessing() -> None:
    import torch

    from robustkit.model import Classifier
    from robustkit.preprocess import Preprocess

    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    found = {keys.weights_key(Classifier(module)), keys.weights_key(Classifier(module, name="b"))}
    assert len(found) == 1
    found.add(keys.weights_key(Classifier(module, preprocess=Preprocess.parse("half"))))
    with torch.no_grad():
        module[1].bias[0] += 1e-6
    found.add(keys.weights_key(Classifier(module)))
    assert len(found) == 3


@pytest.mark.parametrize(
    ("asked", "worker", "devices", "given"),
    [
        ("auto", "gw0", 2, "cuda:0"),
        ("auto", "gw3", 2, "cuda:1"),
        ("cuda", "gw1", 4, "cuda:1"),
        ("auto", "gw3", 0, "auto"),
        ("auto", "", 4, "auto"),
        ("cuda:0", "gw1", 4, "cuda:0"),
        ("cpu", "gw1", 4, "cpu"),
    ],
)
def test_each_worker_has_its_gpu(asked: str, worker: str, devices: int, given: str) -> None:
    assert worker_device(asked, worker, devices) == given
