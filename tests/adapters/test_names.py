"""Names from other libraries are understood, whether or not those are installed."""

import re
from pathlib import Path

import pytest

from robustkit.attacks import build, catalogue, info
from robustkit.attacks.cascades import SUITES
from robustkit.attacks.peer_names import OURS, ours
from robustkit.attacks.peer_names import SUITES as THEIRS
from robustkit.errors import ToolError, UserError
from robustkit.loading import extras


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("LinfPGD", "pgd"),
        ("ProjectedGradientDescent", "pgd"),
        ("torchattacks.PGD", "pgd"),
        ("FGSM", "fgsm"),
        ("FastGradientMethod", "fgsm"),
        ("foolbox.attacks.L2CarliniWagnerAttack", "carlini-wagner"),
        ("CW", "carlini-wagner"),
        ("AutoProjectedGradientDescent", "apgd-ce"),
        ("APGDT", "apgd-t"),
        ("SquareAttack", "square"),
        ("DDNAttack", "ddn"),
        ("SaliencyMapMethod", "jsma"),
        ("torchattacks.OnePixel", "one-pixel"),
        ("UniversalPerturbation", "universal"),
    ],
)
def test_a_name_from_elsewhere_leads_to_ours(name: str, own: str) -> None:
    with pytest.raises(UserError, match=rf"did you mean {own}\?"):
        build(name)


def test_autoattack_is_a_suite() -> None:
    with pytest.raises(UserError, match=r"did you mean --suite autoattack\?"):
        build("AutoAttack")


def test_what_nobody_has_is_not_guessed() -> None:
    with pytest.raises(UserError, match="see robustkit list attacks"):
        build("xyzzy")


def test_every_name_means_one_attack_and_most_are_there() -> None:
    names = [name for theirs in OURS.values() for name in theirs]
    assert all(ours(name) == own for own, theirs in OURS.items() for name in theirs)
    assert len(set(names)) == len(names)
    assert len(set(OURS) & set(catalogue())) >= 15
    assert set(THEIRS) <= set(SUITES)


def test_the_catalogue_itself_has_no_peers() -> None:
    assert not {"foolbox", "art", "torchattacks"} & set(catalogue())


def test_a_library_that_is_missing_is_named_with_its_command(monkeypatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    for text, package in (
        ("foolbox:LinfPGD", "foolbox"),
        ("art:DeepFool", "adversarial-robustness-toolbox"),
        ("torchattacks:PGD", "torchattacks"),
    ):
        with pytest.raises(ToolError, match=f"pip install {package}"):
            info(text)


def test_the_migration_table_says_the_same() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z-]+`.*?) \|(.*)\|$", text, re.MULTILINE)
    checked = 0
    for own, theirs in rows:
        for name in re.findall(r"`(\w+)`", theirs):
            assert ours(name) in re.findall(r"`([a-z-]+)`", own), name
            checked += 1
    assert checked >= 20
