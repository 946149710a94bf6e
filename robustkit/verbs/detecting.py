"""What `detect` does: attack a detector's pictures, and keep what is seen on each of them.

Pictures are read, attacked, looked at and written a few at a time; what is seen on each is a line
of the ledger, so that a killed run goes on with the next ones.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from robustkit import __version__
from robustkit.attacks.patch import Patch, Recipe, Views, check_fits, place, upright
from robustkit.attacks.robust_dpatch import corner, robust_dpatch, upright_at
from robustkit.attacks.sight import sight
from robustkit.audit.detection import attack_each, batches, check_labels, detect_all, rounded
from robustkit.audit.ledger import Ledger, fingerprint
from robustkit.detector import Boxes
from robustkit.draws import Draws
from robustkit.errors import UserError
from robustkit.loading.extras import need
from robustkit.rectangle import sides
from robustkit.threat import ThreatModel
from robustkit.verbs.patches import read_patch, save, write_patch

if TYPE_CHECKING:
    from robustkit.audit.bout import Progress
    from robustkit.detector import Detector
    from robustkit.loading.coco import Scene, Scenes
    from robustkit.model import Classifier

AT_ONCE = 8
"""Pictures in memory at once, and lost at most by a kill."""
CONDITIONS = ("clean", "attacked", "control")
PLACES = {"corner": 0.0, "centre": 0.5, "anywhere": None}
"""Where a patch lies, as a share of the room there is; None where it is drawn."""
PATCH = "patch.png"


@dataclass(frozen=True)
class Wish:
    """What the attacker may do and wants; `attack` is None for one patch for all pictures."""

    threat: ThreatModel
    objective: str
    target: int | None
    confidence: float
    attack: str | None
    place: str = "corner"
    steps: int = 200
    step_size: float = 0.05
    seed: int = 0


class Attacked(NamedTuple):
    """The measured scenes, and what is seen on each: clean, under attack, with noise instead.

    `pictures` is where those under attack lie.
    """

    scenes: Sequence["Scene"]
    seen: dict[str, list[Boxes]]
    pictures: list[Path]


@dataclass(frozen=True)
class Shelf:
    """Scenes as pictures `[N,3,H,W]` of one size, read where they are looked at."""

    scenes: Sequence["Scene"]

    @property
    def shape(self) -> torch.Size:
        """Of all of them; those of another size are stretched to the most frequent one."""
        sizes = [scene.size for scene in self.scenes]
        return torch.Size((len(sizes), 3, *max(dict.fromkeys(sizes), key=sizes.count)))

    def __getitem__(self, index: Tensor) -> Tensor:
        """The pictures at `index` `[B]`."""
        size = list(self.shape[2:])
        return torch.cat([_stretched(self.scenes[row].x, size) for row in index.tolist()])


def _stretched(x: Tensor, size: list[int]) -> Tensor:
    same = list(x.shape[1:]) == size
    return x[None] if same else interpolate(x[None], size=size, mode="bilinear")


def prepare(detector: "Detector", scenes: "Scenes", wish: Wish) -> None:
    """Refuse, before anything is written, what cannot be attacked or measured.

    Data whose labels the detector never gives, a patch that is larger than the pictures, one
    picture where a patch is to be trained on others, a machine without pycocotools.
    """
    need("pycocotools.cocoeval", why="mAP")
    labels = sorted({int(one) for scene in scenes.scenes for one in scene.truth.labels})
    check_labels(detector, labels, scenes.scenes[0].x[None])
    _sight(detector, wish)
    if wish.attack is None:
        count = len(scenes.scenes)
        if count < 2:
            raise UserError("at least two pictures", str(count), "give more --data or --samples")
        _size(Shelf(scenes.scenes[::2]), wish)


def _sight(detector: "Detector", wish: Wish) -> "Classifier":
    return sight(detector, wish.objective, confidence=wish.confidence, target=wish.target)


def _size(x: Shelf, wish: Wish) -> tuple[int, int]:
    """Height and width of a patch for such pictures."""
    one = torch.zeros(1, *x.shape[1:])
    height, width = sides(one, wish.threat.budget(one), wish.threat.shape)
    return int(height), int(width)


def begun(
    folder: Path, detector: "Detector", scenes: "Scenes", wish: Wish, *, resume: bool
) -> Ledger:
    """The ledger of a run in `folder`; raises UserError for one that is there and not the same."""
    identity = {
        **asdict(wish), "threat": wish.threat.text, "model": fingerprint(detector),
        "data": scenes.sha256, "version": __version__,
    }  # fmt: skip
    return Ledger(folder, identity, resume=resume)


def attacked(
    detector: "Detector",
    scenes: "Scenes",
    wish: Wish,
    *,
    folder: Path,
    ledger: Ledger,
    progress: "Progress",
) -> Attacked:
    """Attack every picture by itself, or train a patch on every other one for the rest.

    Pictures go to `folder/attacked`, a patch to `folder/patch.png`; what the ledger has is done.
    """
    shown, patch = scenes.scenes, None
    if wish.attack is None:
        patch = _trained(detector, shown, wish, folder=folder, ledger=ledger, progress=progress)
        shown = shown[1::2]
    pictures = [
        folder / "attacked" / f"{row:05}-{Path(scene.name).stem}.png"
        for row, scene in enumerate(shown)
    ]
    progress.phase("pictures", len(shown))
    for rows in batches(shown, AT_ONCE):
        if any(ledger.get(str(row)) is None for row in rows):
            x = torch.stack([shown[row].x for row in rows])
            after, noise = _changed(detector, x, rows, wish, patch)
            stages = (x, after, noise)
            found = [detect_all(detector, list(one), wish.confidence) for one in stages]
            for row, picture, *boxes in zip(rows, after, *found, strict=True):
                _write(picture, pictures[row])
                noted = {key: _listed(one) for key, one in zip(CONDITIONS, boxes, strict=True)}
                ledger.put(str(row), noted)
        progress.advance(len(rows))
    units = [ledger.get(str(row)) or {} for row in range(len(shown))]
    seen = {key: [_boxes(unit[key]) for unit in units] for key in CONDITIONS}
    return Attacked(shown, seen, pictures)


def _changed(
    detector: "Detector", x: Tensor, rows: Sequence[int], wish: Wish, patch: Patch | None
) -> tuple[Tensor, Tensor]:
    """Pictures `[B,3,H,W]` under attack, and with random noise in its place."""
    if patch is None:
        assert wish.attack is not None
        made = attack_each(
            _sight(detector, wish), x, wish.threat, attack=wish.attack, index=rows, seed=wish.seed
        )
        draws = Draws.keyed(wish.seed, torch.tensor(rows))
        return made, rounded(wish.threat.sample(x, draws))
    dice = torch.Generator().manual_seed(wish.seed)
    noise = Patch(rounded(torch.rand(patch.pixels.shape, generator=dice)), patch.mask)
    made, control = (rounded(_placed(one, x, rows, wish)) for one in (patch, noise))
    return made, control


def _trained(
    detector: "Detector",
    scenes: Sequence["Scene"],
    wish: Wish,
    *,
    folder: Path,
    ledger: Ledger,
    progress: "Progress",
) -> Patch:
    """One patch, trained on every other scene."""
    if ledger.get(PATCH) is None:
        progress.note(f"training a patch on {len(scenes[::2])} pictures")
        x, share = Shelf(scenes[::2]), PLACES[wish.place]
        size = _size(x, wish)
        views = Views() if share is None else upright_at(x, size, share)
        recipe = Recipe(size, steps=wish.steps, step_size=wish.step_size)
        patch = robust_dpatch(_sight(detector, wish), x, recipe=recipe, views=views, seed=wish.seed)
        write_patch(folder / PATCH, patch, {})
        ledger.put(PATCH, {})
    return read_patch(folder / PATCH)[0]


def _placed(patch: Patch, x: Tensor, rows: Sequence[int], wish: Wish) -> Tensor:
    """Pictures `[B,3,H,W]` with the patch at its place, or where it is drawn for each."""
    share = PLACES[wish.place]
    check_fits(patch, x)
    if share is None:
        drawn = Views().draw(patch, x, Draws.keyed(wish.seed, torch.tensor(rows)))
    else:
        drawn = upright(x, patch, *corner(x, (patch.mask.shape[0], patch.mask.shape[1]), share))
    return place(patch, x, drawn)


def _write(x: Tensor, path: Path) -> None:
    levels = x.mul(255).round().byte().permute(1, 2, 0).contiguous()
    save(Image.fromarray(levels.numpy()), path)


def _listed(boxes: Boxes) -> dict[str, Any]:
    """Boxes as the ledger holds them."""
    return {key: part.tolist() for key, part in boxes._asdict().items()}


def _boxes(unit: dict[str, Any]) -> Boxes:
    """Boxes from the ledger: to the same bits."""
    known = Boxes.of(unit["boxes"], unit["labels"])
    return known._replace(scores=torch.tensor(unit["scores"], dtype=torch.float32))
