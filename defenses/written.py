"""Defenses as they are written on a command line: `jpeg:quality=50`, `mahalanobis`, in order."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robustkit.attacks.written import defaults, read_settings
from robustkit.defenses.denoise.stored import stage as stored_denoiser
from robustkit.defenses.detectors import DETECTORS, Detector, fitted
from robustkit.defenses.detectors.detector import FALSE_ALARMS
from robustkit.defenses.detectors.stored import load_detector
from robustkit.defenses.gradient_smoothing import gradient_smoothing
from robustkit.defenses.pipeline import Pipeline
from robustkit.defenses.postprocess import POSTPROCESS
from robustkit.defenses.preprocess import PREPROCESS
from robustkit.defenses.stage import Stage
from robustkit.errors import UserError
from robustkit.loading.samples import Samples
from robustkit.model import Classifier

TRANSFORMS: dict[str, Callable[..., Stage]] = {
    **PREPROCESS,
    "gradient-smoothing": gradient_smoothing,
}
DENOISER = "denoiser"
NAMES = (*TRANSFORMS, DENOISER, *DETECTORS, *POSTPROCESS)
BATCH = 128


class Written(NamedTuple):
    """A part of a pipeline: where it stands (0 before, 1 beside, 2 behind), name and settings."""

    place: int
    name: str
    settings: Mapping[str, Any]


def read(text: str) -> Written:
    """Read `NAME[:key=value,...]`; raises UserError for what there is not, or cannot be.

    >>> read("bit-depth:bits=3")
    Written(place=0, name='bit-depth', settings={'bits': 3})
    """
    name, _, rest = text.partition(":")
    if name not in NAMES:
        near = get_close_matches(name, NAMES, n=2, cutoff=0.4)
        fix = f"did you mean {' or '.join(near)}?" if near else f"take one of {', '.join(NAMES)}"
        raise UserError("the name of a defense", repr(name), fix)
    settings = read_settings(name, rest, _accepted(name))
    if name in TRANSFORMS:
        TRANSFORMS[name](**settings)
    elif name in POSTPROCESS:
        POSTPROCESS[name](**settings)
    _check_file(name, settings)
    place = 2 if name in POSTPROCESS else 1 if name in DETECTORS else 0
    return Written(place, name, settings)


def _accepted(name: str) -> dict[str, Any]:
    if name in DETECTORS:
        own = defaults(DETECTORS[name].fit)
        own.pop("data")
        return {"file": "", "false_alarms": FALSE_ALARMS, **own}
    if name == DENOISER:
        return {"file": ""}
    return defaults(TRANSFORMS.get(name) or POSTPROCESS[name])


def _check_file(name: str, settings: Mapping[str, Any]) -> None:
    path = settings.get("file")
    if name == DENOISER and not path:
        raise UserError("the file of a denoiser", name, "write denoiser:file=PATH")
    if path and not Path(path).is_file():
        raise UserError(f"a file that holds a {name}", repr(path), "check the path")


def read_all(texts: Sequence[str], *, data: str | None = None) -> list[Written]:
    """Read all parts, which must come in the order in which a picture passes them.

    `data` names the clean pictures for detectors that come from no file. Raises UserError.
    """
    parts = [read(text) for text in texts]
    places = [part.place for part in parts]
    if places != sorted(places) or places.count(1) > 1 or places.count(2) > 1:
        raise UserError(
            "transforms, then at most one detector, then at most one postprocessor",
            ", ".join(part.name for part in parts),
            "give --defense in that order",
        )
    if any(part.place == 1 and "file" not in part.settings for part in parts) and not data:
        raise UserError(
            "--defense-data, clean pictures to fit and calibrate the detector on",
            "none",
            "add --defense-data SPEC, other pictures than those that are audited",
        )
    return parts


def defended(model: Classifier, texts: Sequence[str], samples: Samples | None = None) -> Classifier:
    """The model behind the defenses `texts`; detectors are fitted on clean `samples`.

    >>> from robustkit.zoo import load_model
    >>> defended(load_model("digits-standard"), ["bit-depth:bits=3"]).name
    'bit-depth > zoo:digits-standard'
    """
    parts = read_all(texts, data=samples.name if samples else None)
    stages = tuple(_stage(part, model) for part in parts if part.place == 0)
    detectors = [_detector(part, model, stages, samples) for part in parts if part.place == 1]
    behind = [POSTPROCESS[part.name](**part.settings) for part in parts if part.place == 2]
    return Pipeline(
        model, stages, next(iter(detectors), None), next(iter(behind), None)
    ).classifier()


def _stage(part: Written, model: Classifier) -> Stage:
    if part.name == DENOISER:
        return stored_denoiser(Path(part.settings["file"]), device=str(model.device))
    return TRANSFORMS[part.name](**part.settings)


def _detector(
    part: Written, model: Classifier, stages: Sequence[Stage], samples: Samples | None
) -> Detector:
    """A detector from its file, or fitted on what the model sees of clean pictures."""
    settings = dict(part.settings)
    path = settings.pop("file", "")
    if path:
        return load_detector(Path(path)).to(model.device)
    assert samples is not None, "read_all has asked for it"
    passed = Samples.of(_passed(samples, stages, model), samples.y, name=samples.name)
    return fitted(part.name, model, passed, **settings)


def _passed(samples: Samples, stages: Sequence[Stage], model: Classifier) -> Tensor:
    """Clean pictures as they come out of the stages, on the host."""
    if not stages:
        return samples.x
    out = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for rows in torch.arange(len(samples)).split(BATCH):
            x = samples.pixels(rows).to(model.device)
            for stage in stages:
                x = stage.run(x)
            out.append(x.clamp(0, 1).cpu())
    return torch.cat(out)
