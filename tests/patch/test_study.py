"""What a patch needs: on models whose weak place, weak class and sufficient size are known."""

from pathlib import Path

import torch
from torch import Tensor, nn

import robustkit as rk
from robustkit.loading import Samples
from robustkit.model import Classifier
from robustkit.records import AuditLog, PatchRecord
from robustkit.report.html import render_html
from robustkit.report.markdown import render_markdown
from robustkit.report.patch_words import patch_words


class Corner(nn.Module):
    """Class 1 counts light in the bottom right 4 by 4 of a black picture; 2 is never reached."""

    def __init__(self, needed: int) -> None:
        super().__init__()
        self.light = nn.Parameter(torch.ones(()))
        self.needed = needed

    def forward(self, x: Tensor) -> Tensor:
        lit = (x[:, 0, 8:, 8:] * self.light).sum((1, 2)) - (self.needed - 0.5)
        return torch.stack((torch.zeros_like(lit), lit, torch.full_like(lit, -9.0)), 1)


def audited(threat: str, needed: int = 8, **settings: object) -> AuditLog:
    x = torch.zeros(30, 1, 12, 12, dtype=torch.uint8)
    samples = Samples.of(x, torch.zeros(30, dtype=torch.int64))
    return rk.audit(Classifier(Corner(needed)), samples, threat, suite="quick", **settings)


def study(log: AuditLog) -> PatchRecord:
    found = log.threats[0].patch
    assert found is not None
    return found


def rates(shares: object) -> dict[str, float]:
    return {one.name: one.fooled / one.samples for one in shares}  # type: ignore[attr-defined]


def test_the_weak_place_the_sufficient_size_and_the_reachable_class() -> None:
    found = study(audited("patch:4x4"))
    assert found.samples == 24
    assert rates(found.sizes) == {"1x1": 0.0, "2x2": 0.0, "4x4": 1.0}
    # In the middle, 4 by 4 covers no pixel that counts; in the corner all sixteen.
    places = rates(found.places)
    assert places.pop("1,1") == 1.0
    assert set(places.values()) == {0.0}
    targets = {one.name: (one.fooled, one.samples) for one in found.targets}
    assert targets == {"0": (0, 0), "1": (24, 24), "2": (0, 24)}


def test_a_picture_that_is_turned_away_is_no_success() -> None:
    class Wary(Corner):
        """Turns away whatever shines in the corner, for which it has a class of its own."""

        def forward(self, x: Tensor) -> Tensor:
            logits = super().forward(x)
            return torch.cat((logits, logits[:, 1:2] + 1), 1)

    x = torch.zeros(30, 1, 12, 12, dtype=torch.uint8)
    samples = Samples.of(x, torch.zeros(30, dtype=torch.int64))
    model = Classifier(Wary(8), abstain=3)
    found = study(rk.audit(model, samples, "patch:4x4", suite="quick"))
    assert found.samples == 24
    assert not any(one.fooled for one in (*found.sizes, *found.places, *found.targets))


def test_a_study_is_kept_in_the_ledger(tmp_path: Path) -> None:
    first = study(audited("patch:4x4", out=str(tmp_path / "run")))
    ledger = (tmp_path / "run" / "ledger.jsonl").read_text()
    assert ledger.count("patch:4x4|study") == 1
    again = audited("patch:4x4", out=str(tmp_path / "run"), resume=True)
    assert study(again) == first
    assert (tmp_path / "run" / "ledger.jsonl").read_text() == ledger


def test_only_patches_have_one_and_only_where_trials_are_held() -> None:
    assert audited("linf:0.1").threats[0].patch is None
    named = audited("patch:4x4", attacks=["masked-pgd:steps=3"])
    assert named.threats[0].patch is None


def test_reports_say_it() -> None:
    log = audited("patch:4x4")
    words = patch_words(study(log), str)
    assert "4x4 100 %" in words
    assert "the bottom right (100 %)" in words
    assert "1 is reached most often (100 %)" in words
    assert words in render_markdown(log).replace("\\", "")
    page = render_html(log)
    assert "What a patch needs" in page
    assert "the bottom right" in page


def test_unchanged_pixels_are_not_rounded() -> None:
    """Pictures that are not of 8 bits are none the worse for it outside the patch."""
    x = torch.full((4, 1, 12, 12), 0.0)
    x[:, :, :4] = 0.1234
    result = rk.attack(
        "masked-pgd:steps=3", Classifier(Corner(8)), x, torch.zeros(4, dtype=torch.int64),
        "patch:4x4",
    )  # fmt: skip
    assert bool(result.fooled.all())
    assert bool(result.eight_bit.all())


def test_a_curve_of_budgets_is_not_for_patches() -> None:
    assert audited("patch:4x4", curve=True).threats[0].curve == ()
