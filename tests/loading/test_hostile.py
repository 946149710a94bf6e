import io
import pickle
import re
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustkit.errors import RefusedError, RobustkitError
from robustkit.loading import inspect_file, load, open_samples
from robustkit.loading.pickle_machine import walk
from robustkit.loading.sniff import sniff
from tests.loading.corpus import BAD_DATA, CORPUS, GOOD, MARK, ST, network, write


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def factory() -> torch.nn.Module:
    return network()


ARCH = "tests.loading.test_hostile:factory"


@pytest.mark.parametrize("name", CORPUS)
def test_hostile_or_broken_file_is_refused_in_words_and_never_run(here: Path, name: str) -> None:
    content, says = CORPUS[name]
    path = write(here / "model.safetensors", content)  # the extension must not matter
    with pytest.raises(RefusedError) as caught:
        load(path, arch=ARCH)
    assert re.search(says, str(caught.value), re.DOTALL), str(caught.value)
    assert caught.value.exit_code == 4
    assert "\x1b" not in str(caught.value)
    assert not (here / MARK).exists()


@pytest.mark.parametrize("name", CORPUS)
def test_inspection_runs_nothing_and_always_answers(here: Path, name: str) -> None:
    content, says = CORPUS[name]
    found = inspect_file(write(here / "model.pt", content))
    assert found.bytes == len(content)
    assert len(found.sha256) == 64
    assert not (here / MARK).exists()
    if "touch MARK" in says.replace("\\", ""):
        assert any("touch MARK" in danger for danger in found.dangers)
        assert not found.loadable


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data_is_refused_in_words(here: Path, name: str) -> None:
    content, says = BAD_DATA[name]
    with pytest.raises(RefusedError) as caught:
        open_samples(write(here / "data.npz", content))
    assert re.search(says, str(caught.value), re.DOTALL), str(caught.value)
    assert not (here / MARK).exists()


def test_the_payloads_would_run_if_they_were_loaded(here: Path) -> None:
    """So that the tests above can fail."""
    for name in ("bare-protocol-0", "bare-protocol-4"):
        pickle.loads(CORPUS[name][0])  # noqa: S301 - that is the point
        assert (here / MARK).exists()
        (here / MARK).unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("reduce-in-zip", "stack-global", "obj-opcode", "names-from-the-memo"):
            torch.load(io.BytesIO(CORPUS[name][0]), weights_only=False)
            assert (here / MARK).exists(), name
            (here / MARK).unlink()


def test_environment_cannot_switch_the_restricted_loader_off(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path = write(here / "a.pt", CORPUS["reduce-in-zip"][0])
    with pytest.raises(RefusedError):
        load(path, arch=ARCH)
    load(write(here / "b.pt", GOOD), arch=ARCH)
    assert not (here / MARK).exists()


def test_the_restricted_loader_holds_even_where_the_walk_is_blind(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustkit.loading.checkpoint.check_pickles", lambda path, form: None)
    for name in ("reduce-in-zip", "reduce-in-legacy", "obj-opcode", "whole-model", "stack-global"):
        with pytest.raises(RefusedError, match="cannot be read"):
            load(write(here / "a.pt", CORPUS[name][0]), arch=ARCH)
    assert not (here / MARK).exists()


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_walk_of_any_bytes_ends_without_an_exception(content: bytes) -> None:
    walk(io.BytesIO(content))


@settings(max_examples=100, deadline=None)
@given(start=st.sampled_from([GOOD, ST, CORPUS["reduce-in-legacy"][0]]), data=st.data())
def test_flipped_bytes_are_loaded_or_refused_and_never_crash(
    tmp_path_factory: pytest.TempPathFactory, start: bytes, data: st.DataObject
) -> None:
    content = bytearray(start)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path = write(tmp_path_factory.getbasetemp() / "flipped", bytes(content))
    try:
        sniff(path)
        inspect_file(path)
        load(path, arch=ARCH)
    except RobustkitError:
        pass


def test_a_pickle_bomb_of_references_is_shown_short(here: Path) -> None:
    levels = [b"](" + 4 * (b"h" + bytes([n])) + b"eq" + bytes([n + 1]) for n in range(60)]
    program = b"\x80\x02]q\x00" + b"".join(levels) + b"cposix\nsystem\nh\x3c\x85R."
    found = walk(io.BytesIO(program))
    assert found.trouble == ""
    assert len(repr(found)) < 1000
