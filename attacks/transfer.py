"""Transfer: adversarial examples made on other models, judged once on the one under test.

Liu et al. 2017 (arXiv 1611.02770); several models are fused in their logits, with equal weights
(Dong et al. 2018, arXiv 1710.06081, eq. 7). Any fixed-budget attack of the catalogue transfers;
those of the momentum family were made for it.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn

from robustkit.attacks.attack import Attack
from robustkit.attacks.parts.elsewhere import judged_last, moved
from robustkit.errors import UserError
from robustkit.model import Classifier


class _Mean(nn.Module):
    """The mean of several classifiers' logits, each behind its own preprocessing."""

    def __init__(self, models: Sequence[Classifier]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(model.module for model in models)
        self.models = models

    def forward(self, x: Tensor) -> Tensor:
        """The mean of the logits."""
        return torch.stack([model(x) for model in self.models]).mean(0)


def fuse(models: Sequence[Classifier]) -> Classifier:
    """One frozen model whose logits are the mean of those of copies of `models`.

    The models are left as they are. Raises UserError for none.
    """
    if not models:
        raise UserError("at least one model to make the examples on", "none", "pass a list")
    copies = [
        Classifier(
            deepcopy(model.module).eval().requires_grad_(False),
            preprocess=model.preprocess, bounds=model.bounds, device=model.device,
        )
        for model in models
    ]  # fmt: skip
    name = " + ".join(model.name for model in models)
    return Classifier(_Mean(copies), bounds=models[0].bounds, name=name, device=models[0].device)


def transferred(attack: Attack, models: Sequence[Classifier]) -> Attack:
    """`attack` on `models`, its last success there judged on the model under test: one query.

    A success on the surrogate ends nothing. Raises UserError for a minimum-norm attack, whose
    smallest success on one model says nothing of another.

    >>> from robustkit.attacks.momentum import mi_fgsm
    >>> transferred(mi_fgsm(), [Classifier(nn.Flatten(), name="a")]).settings["models"]
    'a'
    """
    if attack.minimum_norm:
        raise UserError("a fixed-budget attack", attack.name, "transfer for example mi-fgsm")
    surrogate = fuse(models)
    return replace(
        judged_last(moved(attack, lambda model: surrogate, free=True)),
        name=f"{attack.name}-transfer",
        settings={**attack.settings, "models": surrogate.name},
    )
