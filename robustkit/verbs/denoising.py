"""What `harden --denoiser` trains and ships: a network in front of a model that stays as it is."""

from robustkit.defenses.denoise import seeded
from robustkit.defenses.denoise.guarded import Guarded, guarded
from robustkit.defenses.denoise.stored import packed, stage
from robustkit.defenses.pipeline import Pipeline
from robustkit.loading import Samples
from robustkit.model import Classifier


def paired(name: str, model: Classifier, data: Samples, *, seed: int) -> Classifier:
    """The untrained denoiser `name` in front of `model`, for pictures like those of `data`."""
    return guarded(seeded(name, int(data.x.shape[1]), seed), model)


def before_model(
    name: str, trained: Classifier, model: Classifier, *, channels: int
) -> tuple[Classifier, bytes]:
    """The trained denoiser before `model`, as a pipeline to be audited, and as a file."""
    assert isinstance(trained.module, Guarded)
    content = packed(name, trained.module.denoiser.cpu(), channels)
    return Pipeline(model, (stage(content, device=str(model.device)),)).classifier(), content
