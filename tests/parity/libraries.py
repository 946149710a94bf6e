"""Independent implementations as attacks: `foolbox:`, `torchattacks:` and `art:` through our
adapters, `autoattack:` (the published code, from pyautoattack) and `adv_lib:` through these.
"""

import ast
import importlib
import sys
import types
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from robustkit.attacks import build
from robustkit.attacks.attack import (
    Attack,
    Problem,
    State,
    begin,
    observe,
    observe_nearest,
)
from robustkit.attacks.peers import to_torchattacks
from robustkit.losses import margin
from tests.adapters.conftest import need_folder, need_peer

CAPITAL = {"linf": "Linf", "l2": "L2", "l1": "L1"}
ORDER = {"linf": float("inf"), "l2": 2, "l1": 1, "l0": 0}
PUBLISHED = {
    "apgd-ce": ("autopgd_base", "APGDAttack", {"loss": "ce"}),
    "apgd-dlr": ("autopgd_base", "APGDAttack", {"loss": "dlr"}),
    "apgd-t": ("autopgd_base", "APGDAttack_targeted", {"n_target_classes": 9}),
    "fab": ("fab_pt", "FABAttack_PT", {}),
    "fab-t": ("fab_pt", "FABAttack_PT", {"targeted": True}),
    "square": ("square", "SquareAttack", {"resc_schedule": False}),
}
"""AutoAttack's attacks and what its standard version sets."""


def implementation(text: str) -> Attack:
    """The attack `LIBRARY:NAME:key=value,...`; skips where the library is not installed."""
    library, _, rest = text.partition(":")
    if library not in ("autoattack", "adv_lib"):
        need_peer(library)
        return build(text)
    name, _, given = rest.partition(":")
    settings = {
        key: ast.literal_eval(value)
        for key, _, value in (part.partition("=") for part in given.split(",") if part)
    }
    nearest = library == "adv_lib" or name.startswith("fab")
    run = _adv_lib if library == "adv_lib" else _autoattack
    _need("adv_lib.attacks" if library == "adv_lib" else "pyautoattack")

    def step(problem: Problem, state: State) -> State:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), torch.enable_grad():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            found = run(name, settings, problem).detach().clamp(0, 1)
        logits = problem.model(found)
        note = observe_nearest if nearest else observe
        state = note(problem, state._replace(x=found), logits, margin(logits, problem.goal))
        return state._replace(t=state.t + 1)

    return Attack(text, lambda problem: begin(problem, problem.x), step, 1, minimum_norm=nearest)


def autoattack(module: str) -> Any:
    """A module of the published AutoAttack; skips where it is not installed."""
    return _need(f"pyautoattack.{module}")


def _need(module: str) -> Any:
    need_folder()
    if module.startswith("adv_lib") and "visdom" not in sys.modules:
        # It wants a plotting server's client, of which nothing is used.
        stub = types.ModuleType("visdom")
        stub.__dict__["Visdom"] = object
        sys.modules["visdom"] = stub
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(module)
        except ImportError:
            package = module.partition(".")[0].replace("_", "-")
            pytest.skip(f"{package} is not installed: pip install --no-deps {package}")


def _autoattack(name: str, settings: dict[str, Any], problem: Problem) -> Tensor:
    module, kind, standard = PUBLISHED[name]
    made = getattr(autoattack(module), kind)
    # FAB gives out only what lies within its eps: as a minimum-norm attack it gets all.
    eps = 1e9 if name.startswith("fab") else float(problem.eps[0])
    norm = CAPITAL[problem.threat.norm_name]
    attack = made(
        to_torchattacks(problem.model), norm=norm, eps=eps, device="cpu", **standard | settings
    )
    found: Tensor = attack.perturb(problem.x, problem.goal.y)
    return found


def _adv_lib(name: str, settings: dict[str, Any], problem: Problem) -> Tensor:
    function = getattr(_need("adv_lib.attacks"), name)
    norm = {"norm": ORDER[problem.threat.norm_name]} if name in ("fmn", "pdpgd", "df") else {}
    model = to_torchattacks(problem.model)
    found: Tensor = function(model, problem.x, problem.goal.y, **norm | settings)
    return found
