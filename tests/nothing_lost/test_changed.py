"""A run goes on with the same model, data and attacks, or not at all; the difference is told."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.nothing_lost.conftest import WORDS, Run

NET = """
from torch import nn

def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


@pytest.fixture
def begun(audit: Run, tmp_path: Path) -> tuple[str, ...]:
    """The command line of a finished run in `run` of a small model and data set on files."""
    (tmp_path / "lost_net.py").write_text(NET)
    torch.manual_seed(0)
    weights = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).state_dict()
    save_file(weights, tmp_path / "net.safetensors")
    x = torch.randint(0, 256, (12, 1, 8, 8), dtype=torch.uint8).numpy()
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(12) % 10)
    words = ("audit", "net.safetensors", "--arch", "lost_net.py:net", "--data", "data.npz",
             *WORDS[2:], "--out", "run")  # fmt: skip
    audit(begin=words)
    return words


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_one_flipped_bit_of_the_weights_is_told(audit: Run, begun, tmp_path: Path) -> None:
    flip_last_byte(tmp_path / "net.safetensors")
    said = audit("--resume", begin=begun, code=2).stderr
    assert "got model: was " in said
    assert "data: was" not in said


def test_one_changed_pixel_is_told(audit: Run, begun, tmp_path: Path) -> None:
    content = dict(np.load(tmp_path / "data.npz"))
    content["x"][3, 0, 2, 2] ^= 1
    np.savez(tmp_path / "data.npz", **content)
    said = audit("--resume", begin=begun, code=2).stderr
    assert "got data: was " in said
    assert "model: was" not in said


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("pgd:steps=5", "pgd:steps=6", "bouts.0.attacks.1: was pgd:steps=5, is pgd:steps=6"),
        ("linf:0.1", "linf:0.2", "bouts.0.threat: was linf:0.1, is linf:0.2"),
        ("16", "11", "samples: was 16, is 11"),
    ],
)
def test_a_changed_plan_is_told_to_its_part(audit: Run, begun, old, new, told) -> None:
    before = Path("run/audit.json").read_bytes()
    changed = tuple(new if word == old else word for word in begun)
    said = " ".join(audit("--resume", begin=changed, code=2).stderr.split())
    assert told in said
    assert "run the original command with --resume" in said
    assert Path("run/audit.json").read_bytes() == before
