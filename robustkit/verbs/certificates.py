"""The three ways to certify: what each proves, of what answer, and how that answer is attacked."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from robustkit.defenses import ibp, patch_cleanser, smoothing
from robustkit.errors import UserError
from robustkit.model import Classifier
from robustkit.threat import ThreatModel

if TYPE_CHECKING:
    from robustkit.loading import Samples

STEPS = 8
VOTES = 1000
"""Noisy copies that decide whether an attack has turned a vote."""
_AGAIN = 7_919
"""Added to the seed, so that attacked pictures are judged by other noise than clean ones."""

Columns = Mapping[str, Tensor]
"""What is proven of each picture, `[B]` on the CPU, `prediction` among it."""


class Method(NamedTuple):
    """A way to certify, made for one model and one set of flags.

    - `settings`: what decides the result; printed, and part of a run's identity
    - `claims`: the threats that are reported
    - `prove(x, index)`: columns for pictures `[B,C,H,W]` with their numbers `[B]`
    - `holds(columns, claim)`: which pictures are proven under a claim, `[B]` bool
    - `answers(x, index)`: what is certified says of attacked pictures, `[B]`; -1 where undecided
    - `target`: what the attacks that run beside it look at
    """

    settings: Mapping[str, Any]
    claims: tuple[ThreatModel, ...]
    prove: Callable[[Tensor, Tensor], Columns]
    holds: Callable[[Columns, ThreatModel], Tensor]
    answers: Callable[[Tensor, Tensor], Tensor]
    target: Classifier
    attacks: tuple[str, ...]


def method(
    name: str, model: Classifier, samples: "Samples", given: Mapping[str, Any], *, batch_size: int
) -> Method:
    """The method `name` with the flags of `certify`; raises UserError for flags it cannot mean."""
    return METHODS[name](model, samples, given, batch_size)


def _smoothing(
    model: Classifier, samples: "Samples", given: Mapping[str, Any], batch_size: int
) -> Method:
    if given["threat"]:
        raise UserError(
            "--radius beside --method smoothing", "--threat", "write --radius 0.5, in l2"
        )
    vote = smoothing.Smoothing(given["sigma"], given["draws"], alpha=given["alpha"]).checked()
    fewer = vote._replace(draws=min(VOTES, vote.draws))
    radii = given["radius"] or [step * vote.sigma / 2 for step in range(STEPS)]
    seed = given["seed"]

    def prove(x: Tensor, index: Tensor) -> Columns:
        made = smoothing.certify(model, x, index, vote, seed=seed, batch_size=batch_size)
        return made._asdict()

    def answers(x: Tensor, index: Tensor) -> Tensor:
        again = seed + _AGAIN
        return smoothing.certify(
            model, x, index, fewer, seed=again, batch_size=batch_size
        ).prediction

    return Method(
        {"method": "smoothing", **vote._asdict()},
        tuple(ThreatModel("l2", float(radius), model.bounds) for radius in radii),
        prove,
        lambda found, claim: (found["prediction"] >= 0) & (found["radius"] >= float(claim.eps)),
        answers,
        _behind(model, smoothing.Noisy(model, vote.sigma, seed=seed)),
        ("pgd:steps=20,random_start=false",),
    )


def _ibp(
    model: Classifier, samples: "Samples", given: Mapping[str, Any], batch_size: int
) -> Method:
    claim = _claim(model, given, "linf:0.1")
    ibp.check(model, claim)

    def prove(x: Tensor, index: Tensor) -> Columns:
        made = ibp.certify(model, x, claim, batch_size=batch_size)
        return {"prediction": made.prediction, "margin": made.margin}

    def answers(x: Tensor, index: Tensor) -> Tensor:
        with model.frozen(), torch.no_grad():
            return torch.cat([model(part).argmax(1) for part in x.split(batch_size)]).cpu()

    return Method(
        {"method": "ibp"}, (claim,), prove, lambda found, claim: found["margin"] > 0, answers,
        model, ("apgd-ce:steps=40", "apgd-dlr:steps=40"),
    )  # fmt: skip


def _patch_cleanser(
    model: Classifier, samples: "Samples", given: Mapping[str, Any], batch_size: int
) -> Method:
    claim = _claim(model, given, "patch:5x5")
    like = samples.pixels([0]).to(model.device)
    settings = {"masks": given["masks"], "fill": given["fill"]}
    guard = patch_cleanser.cleanser(model, like, claim, batch_size=batch_size, **settings)

    def prove(x: Tensor, index: Tensor) -> Columns:
        with model.frozen(), torch.no_grad():
            made = guard.certify(x)
        return {"prediction": made.prediction, "proven": made.proven}

    def answers(x: Tensor, index: Tensor) -> Tensor:
        with model.frozen(), torch.no_grad():
            return guard.double_masking(x).cpu()

    return Method(
        {"method": "patch-cleanser", **settings}, (claim,), prove,
        lambda found, claim: found["proven"].bool(), answers,
        _behind(model, patch_cleanser.Masked(guard)), ("masked-pgd:steps=20",),
    )  # fmt: skip


METHODS: dict[str, Callable[[Classifier, "Samples", Mapping[str, Any], int], Method]] = {
    "smoothing": _smoothing,
    "ibp": _ibp,
    "patch-cleanser": _patch_cleanser,
}


def _claim(model: Classifier, given: Mapping[str, Any], example: str) -> ThreatModel:
    if not given["threat"] or given["radius"]:
        raise UserError(
            "--threat with this method, and no --radius",
            "no threat" if not given["threat"] else "--radius",
            f"write --threat {example}",
        )
    return ThreatModel.parse(given["threat"], model.bounds)


def _behind(model: Classifier, module: torch.nn.Module) -> Classifier:
    """A module that asks `model`, as a model of its own."""
    return Classifier(
        module, bounds=model.bounds, name=model.name, access=model.access, device=model.device
    )
