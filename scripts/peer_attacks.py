"""Other libraries' attacks for scripts/optimality.py, as their authors would call them.

Each entry attacks a module that maps pixels in [0, 1] to logits; what comes of it is read off the
meter. adv-lib, pyautoattack, foolbox, torchattacks and ART are found on the path or in the folder
that ROBUSTKIT_PEERS names. Settings fit 2000 propagations and are the published ones beyond that.
"""

import importlib
import os
import sys
import types
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn

ORDERS = {"linf": float("inf"), "l2": 2, "l1": 1, "l0": 0}
# Budgets at which everything is fooled, on pictures of 784 to 3072 values.
FAR = {"linf": 0.5, "l2": 8, "l1": 100}
CAPITAL = {"linf": "Linf", "l2": "L2", "l1": "L1"}

Run = Callable[[nn.Module, Tensor, Tensor, Any], object]


class Peer(NamedTuple):
    """An implementation: the attack that it is one of, its library, how it runs and takes budgets.

    `budget` is "none" for minimum norms, "each" for one budget a sample, `[N]`, "spread" for the
    same as `[N,1,1,1]`, "one" for a number.
    """

    family: str
    library: str
    run: Run
    budget: str


def need(module: str) -> Any:
    """Import a peer; raises ImportError where it is not installed."""
    folder = os.environ.get("ROBUSTKIT_PEERS")
    if folder and folder not in sys.path:
        sys.path.append(folder)
    if module.startswith("adv_lib") and "visdom" not in sys.modules:
        # It wants a plotting server's client, of which nothing is used.
        stub = types.ModuleType("visdom")
        stub.__dict__["Visdom"] = object
        sys.modules["visdom"] = stub
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(module)


def _adv_lib(name: str, **settings: Any) -> Callable[[str], Run]:
    """A function of adv-lib; the norm goes in where it takes one, budgets as a tensor."""

    def of(norm: str) -> Run:
        words = {"order": ORDERS[norm], "norm": norm, "far": FAR.get(norm)}
        given = {key: words.get(value, value) for key, value in settings.items()}
        key, part = given.pop("budget", None), given.pop("part", "")

        def run(model: nn.Module, x: Tensor, y: Tensor, eps: Tensor | None) -> None:
            budget = {str(key): eps} if key else {}
            getattr(need(f"adv_lib.attacks{part}"), name)(model, x, y, **budget, **given)

        return run

    return of


def _published(module: str, name: str, **settings: Any) -> Callable[[str], Run]:
    """A class of the published AutoAttack."""

    def of(norm: str) -> Run:
        def run(model: nn.Module, x: Tensor, y: Tensor, eps: Tensor | float | None) -> None:
            kind = getattr(need(f"pyautoattack.{module}"), name)
            budget = 1e9 if eps is None else eps
            kind(model, norm=CAPITAL[norm], eps=budget, device="cpu", **settings).perturb(x, y)

        return run

    return of


def _foolbox(name: str, **settings: Any) -> Callable[[str], Run]:
    """A class of foolbox, whose name begins with the norm where it has one."""

    def of(norm: str) -> Run:
        def run(model: nn.Module, x: Tensor, y: Tensor, eps: float | None) -> None:
            foolbox = need("foolbox")
            short = name.format(norm=CAPITAL.get(norm, "L0")).replace("LinfFMN", "LInfFMN")
            kind = getattr(foolbox.attacks, short)
            kind(**settings)(foolbox.PyTorchModel(model, bounds=(0, 1)), x, y, epsilons=eps)

        return run

    return of


def _torchattacks(name: str, **settings: Any) -> Callable[[str], Run]:
    """A class of torchattacks; its step is 2.5 eps / steps where it has one."""

    def of(norm: str) -> Run:
        def run(model: nn.Module, x: Tensor, y: Tensor, eps: float | None) -> None:
            library, given = need("torchattacks"), dict(settings)
            short = f"{name}L2" if (name, norm) == ("PGD", "l2") else name
            if eps is not None:
                given["eps"] = eps
                if "steps" in given:
                    given["alpha"] = 2.5 * eps / given["steps"]
            getattr(library, short)(model, **given)(x, y)

        return run

    return of


def _art(name: str, **settings: Any) -> Callable[[str], Run]:
    """A class of ART; its step is 2.5 eps / steps where it has one."""

    def of(norm: str) -> Run:
        def run(model: nn.Module, x: Tensor, y: Tensor, eps: float | None) -> None:
            wrapped = need("art.estimators.classification").PyTorchClassifier(
                model=model, loss=nn.CrossEntropyLoss(), input_shape=tuple(x.shape[1:]),
                nb_classes=10, clip_values=(0.0, 1.0), device_type="cpu",
            )  # fmt: skip
            given = {"batch_size": len(x), "verbose": False, **settings}
            if eps is not None:
                step = 2 * eps if name.startswith("Auto") else 2.5 * eps / settings["max_iter"]
                given |= {"norm": ORDERS[norm], "eps": eps, "eps_step": step}
            kind = getattr(need("art.attacks.evasion"), name)
            kind(wrapped, **given).generate(x=x.numpy(), y=y.numpy())

        return run

    return of


APGD = partial(_published, "autopgd_base", "APGDAttack", n_iter=100)
# How a rule becomes a run: family, library, rule, budget, norms.
_ROWS: tuple[tuple[str, str, Callable[[str], Run], str, str], ...] = (
    ("fmn", "adv-lib", _adv_lib("fmn", norm="order", steps=1000), "none", "linf l2 l1 l0"),
    ("fmn", "foolbox", _foolbox("{norm}FMNAttack", steps=1000), "none", "linf l2 l1 l0"),
    ("pdpgd", "adv-lib", _adv_lib("pdpgd", norm="order", num_steps=1000), "none", "linf l2 l1 l0"),
    ("pdgd", "adv-lib", _adv_lib("pdgd", num_steps=1000), "none", "l2"),
    ("alma", "adv-lib", _adv_lib("alma", distance="norm", num_steps=1000), "none", "l2 l1"),
    ("ddn", "adv-lib", _adv_lib("ddn", steps=1000, levels=None), "none", "l2"),
    ("ddn", "foolbox", _foolbox("DDNAttack", steps=1000), "none", "l2"),
    ("deepfool", "adv-lib", _adv_lib("df", steps=50, norm="order"), "none", "linf l2"),
    ("deepfool", "foolbox", _foolbox("{norm}DeepFoolAttack"), "none", "linf l2"),
    ("deepfool", "ART", _art("DeepFool"), "none", "l2"),
    ("superdeepfool", "adv-lib", _adv_lib("sdf"), "none", "l2"),
    ("trust-region", "adv-lib", _adv_lib("tr", p="order", adaptive=True), "none", "linf l2"),
    (
        "carlini-wagner", "adv-lib",
        _adv_lib("carlini_wagner_l2", max_iterations=111), "none", "l2",
    ),
    (
        "carlini-wagner", "foolbox", _foolbox("L2CarliniWagnerAttack", steps=111), "none", "l2",
    ),
    ("carlini-wagner", "torchattacks", _torchattacks("CW", steps=1000), "none", "l2"),
    ("carlini-wagner", "adv-lib", _adv_lib("carlini_wagner_linf"), "none", "linf"),
    ("carlini-wagner", "ART", _art("CarliniL2Method"), "none", "l2"),
    ("ead", "foolbox", _foolbox("EADAttack", steps=111, decision_rule="L1"), "none", "l1"),
    ("ead", "ART", _art("ElasticNet", max_iter=111, decision_rule="L1"), "none", "l1"),
    ("sigma-zero", "adv-lib", _adv_lib("sigma_zero"), "none", "l0"),
    ("vfga", "adv-lib", _adv_lib("vfga", targeted=False), "none", "l0"),
    ("fab", "adv-lib", _adv_lib("fab", norm="order", n_iter=100), "none", "linf l2 l1"),
    ("fab", "AutoAttack", _published("fab_pt", "FABAttack_PT"), "none", "linf l2 l1"),
    (
        "fab-t", "AutoAttack",
        _published("fab_pt", "FABAttack_PT", targeted=True), "none", "linf l2 l1",
    ),
    (
        "pgd", "adv-lib",
        _adv_lib("pgd_linf", budget="ε", steps=100, relative_step_size=0.025), "each", "linf",
    ),
    ("pgd", "foolbox", _foolbox("{norm}PGD", steps=100, rel_stepsize=0.025), "one", "linf l2 l1"),
    ("pgd", "torchattacks", _torchattacks("PGD", steps=100), "one", "linf l2"),
    (
        "pgd", "ART",
        _art("ProjectedGradientDescent", max_iter=100, num_random_init=1), "one", "linf l2 l1",
    ),
    (
        "bim", "foolbox",
        _foolbox("{norm}BasicIterativeAttack", steps=100, rel_stepsize=0.025), "one", "linf l2 l1",
    ),
    ("mi-fgsm", "torchattacks", _torchattacks("MIFGSM", steps=100), "one", "linf"),
    ("fgsm", "foolbox", _foolbox("{norm}FastGradientAttack"), "one", "linf l2 l1"),
    ("apgd-ce", "AutoAttack", APGD(loss="ce"), "spread", "linf l2"),
    ("apgd-dlr", "AutoAttack", APGD(loss="dlr"), "spread", "linf l2"),
    ("apgd-ce", "AutoAttack", APGD(loss="ce"), "one", "l1"),
    ("apgd-dlr", "AutoAttack", APGD(loss="dlr"), "one", "l1"),
    (
        "apgd-ce", "adv-lib",
        _adv_lib("apgd", budget="eps", norm="order", loss_function="ce"), "each", "linf l2 l1",
    ),
    (
        "apgd-dlr", "adv-lib",
        _adv_lib("apgd", budget="eps", norm="order", loss_function="dlr"), "each", "linf l2 l1",
    ),
    (
        "apgd-t", "adv-lib",
        _adv_lib("apgd_targeted", budget="eps", norm="order", n_iter=20, num_targets=5),
        "each", "linf l2 l1",
    ),
    (
        "apgd-t", "adv-lib minimal",
        _adv_lib("minimal_apgd", part=".auto_pgd", norm="order", max_eps="far", n_iter=20,
                 binary_search_steps=10, targeted_version=True, num_targets=5),
        "none", "linf l2 l1",
    ),
    (
        "apgd-ce", "ART",
        _art("AutoProjectedGradientDescent", nb_random_init=1, max_iter=100,
             loss_type="cross_entropy"),
        "one", "linf l2",
    ),
    (
        "square", "AutoAttack",
        _published("square", "SquareAttack", n_queries=200, resc_schedule=False), "one",
        "linf l2 l1",
    ),
    ("boundary", "foolbox", _foolbox("BoundaryAttack", steps=2000), "none", "l2"),
    (
        "hop-skip-jump", "foolbox",
        _foolbox("HopSkipJumpAttack", constraint="l2", max_gradient_eval_steps=200), "none", "l2",
    ),
)  # fmt: skip


def peers(norm: str) -> list[Peer]:
    """The implementations that seek the nearest points of a norm, or can be made to."""
    return [
        Peer(family, library, rule(norm), budget)
        for family, library, rule, budget, norms in _ROWS
        if norm in norms.split()
    ]
