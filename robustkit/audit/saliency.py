"""Where the model looked: the gradient of its verdict, before and after the attack.

A verdict comes with its reasons: the pixels whose change moves the winning logit most, averaged
over a little noise (SmoothGrad, Smilkov et al. 2017, arXiv 1706.03825). It shows what the model is
sensitive to, which is not a proof of what it means.
"""

import torch
from torch import Tensor

from robustkit.audit.device import halving
from robustkit.draws import Draws
from robustkit.model import Classifier

DRAWS = 16
NOISE = 0.05


def sensitivity(model: Classifier, x: Tensor) -> Tensor:
    """How much each pixel moves the winning logit, `[H, W]` in [0, 1], for one picture `[C,H,W]`.

    The model must be frozen. Where memory runs out the average is over fewer draws.
    """
    return halving(lambda draws: _sensitivity(model, x, draws), DRAWS)[0]


def _sensitivity(model: Classifier, x: Tensor, count: int) -> Tensor:
    draws = Draws.keyed(0, torch.arange(count)).normal(x.shape)
    noisy = (x[None] + NOISE * draws).clamp(*model.bounds).to(model.device)
    with torch.enable_grad():
        noisy.requires_grad_()
        logits = model(noisy)
        winner = logits.mean(0).argmax()
        gradient = model.gradient(logits[:, winner], noisy)
    heat = gradient.abs().mean(0).amax(0).cpu()
    return heat / heat.max().clamp_min(1e-12)
