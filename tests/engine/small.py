"""Small models whose robustness is known, for the tests of the harness."""

import torch
from torch import Tensor, nn

from robustkit.model import Classifier


def linear(classes: int = 3, shape: tuple[int, int, int] = (1, 4, 4), seed: int = 0) -> Classifier:
    """A linear model with fixed random weights."""
    generator = torch.Generator().manual_seed(seed)
    head = nn.Linear(shape[0] * shape[1] * shape[2], classes)
    head.weight.data = torch.randn(head.weight.shape, generator=generator)
    head.bias.data.zero_()
    return Classifier(nn.Sequential(nn.Flatten(), head), name=f"linear-{classes}")


def pictures(count: int, shape: tuple[int, int, int] = (1, 4, 4), seed: int = 1) -> Tensor:
    """Uniform pictures with a few pixels at the walls."""
    x = torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))
    x[: count // 4] = (x[: count // 4] * 2).clamp(0, 1)
    return x


def labelled(model: Classifier, x: Tensor) -> Tensor:
    """The model's own predictions: every picture is right."""
    with torch.no_grad():
        return model(x).argmax(1)


def can_be_fooled(model: Classifier, x: Tensor, y: Tensor, norm: str, eps: float) -> Tensor:
    """Whether any allowed point fools a *linear* model, `[N]`: one exact maximum a class."""
    from robustkit.threat import ThreatModel

    threat = ThreatModel(norm, eps)
    weight = model.module[1].weight  # type: ignore[index]
    best = torch.full((len(x),), -torch.inf)
    for other in range(len(weight)):
        direction = (weight[other] - weight[y]).reshape(x.shape).detach()
        step = threat.norm.steepest(direction, threat.budget(x), threat.box(x))
        with torch.no_grad():
            logits = model(x + step)
        gap = logits[:, other] - logits.gather(1, y[:, None]).squeeze(1)
        best = torch.where(y == other, best, torch.maximum(best, gap))
    return best > 0
