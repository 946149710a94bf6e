"""Attacks of foolbox, ART and torchattacks, as if they were ours: `foolbox:LinfPGD:steps=20`.

An adapter is an attack of one step, which runs the peer on the whole batch and looks at what came
out. Budget, bounds and label are then the referee's, as with every attack, and forwards and
backwards are counted. What peers draw from global generators is seeded, but depends on the batch.

`to_foolbox`, `to_art` and `to_torchattacks` turn a Classifier into what those libraries take.
"""

import ast
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from robustkit.attacks.attack import (
    Attack,
    AttackInfo,
    Problem,
    State,
    begin,
    observe,
    observe_nearest,
)
from robustkit.attacks.peer_names import ours
from robustkit.errors import ToolError, UserError
from robustkit.loading.extras import need
from robustkit.losses import margin
from robustkit.model import Classifier

NORMS = ("linf", "l2", "l1", "l0")
ORDERS = {"linf": np.inf, "l2": 2, "l1": 1}
OWN = frozenset({
    "self", "model", "estimator", "classifier", "eps", "norm", "verbose", "batch_size", "targeted",
})  # fmt: skip
"""What the adapters set themselves."""
AIMING = {"SaliencyMapMethod"}
"""Attacks of ART whose labels are targets, drawn at random where there are none."""


class AsModule(nn.Module):
    """A Classifier as a module `[B,C,H,W]` in its bounds -> `[B,K]`; passes are counted.

    Modes, devices and gradients that a peer sets on it stop here: the user's module has its own.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.ask = classifier.__call__
        self.counts = classifier
        # Peers look at a parameter to learn the device.
        self.anchor = nn.Parameter(torch.zeros(1, device=classifier.device), requires_grad=False)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits; a backward through them is counted."""
        logits: Tensor = self.ask(x)
        if logits.requires_grad:
            logits.register_hook(self._count)
        return logits

    def _count(self, gradient: Tensor) -> None:
        self.counts.backwards += len(gradient)


def to_torchattacks(classifier: Classifier) -> nn.Module:
    """The classifier as a module for torchattacks, or for anything that wants pixels in [0, 1]."""
    return AsModule(classifier)


def to_foolbox(classifier: Classifier) -> Any:
    """The classifier as a `foolbox.PyTorchModel`."""
    foolbox = _need("foolbox")
    return foolbox.PyTorchModel(
        AsModule(classifier), bounds=classifier.bounds, device=classifier.device
    )


def to_art(classifier: Classifier, x: Tensor) -> Any:
    """The classifier as an ART `PyTorchClassifier`; `x` `[B,C,H,W]` shows shape and classes."""
    kind = _need("art.estimators.classification").PyTorchClassifier
    with torch.no_grad():
        classes = classifier(x[:1].to(classifier.device)).shape[1]
    return kind(
        model=AsModule(classifier), loss=nn.CrossEntropyLoss(), input_shape=tuple(x.shape[1:]),
        nb_classes=classes, clip_values=classifier.bounds,
        device_type="gpu" if classifier.device.type == "cuda" else "cpu",
    )  # fmt: skip


class Peer(NamedTuple):
    """A library: the module of its attacks, which of them look for the nearest, how one is run."""

    attacks: str
    nearest: Callable[[type], bool]
    run: Callable[[type, Mapping[str, Any], Problem], Tensor]


def _run_foolbox(kind: type, settings: Mapping[str, Any], problem: Problem) -> Tensor:
    foolbox = _need("foolbox")
    goal = problem.goal
    criterion = (
        foolbox.criteria.Misclassification(goal.y)
        if goal.target is None
        else foolbox.criteria.TargetedMisclassification(goal.target)
    )
    eps = None if _foolbox_nearest(kind) else _one_eps(problem)
    model = to_foolbox(problem.model)
    found = kind(**settings)(model, problem.x, criterion, epsilons=eps)[1]
    assert isinstance(found, Tensor)
    return found


def _run_torchattacks(kind: type, settings: Mapping[str, Any], problem: Problem) -> Tensor:
    accepted, model = _accepted(kind), to_torchattacks(problem.model)
    given: dict[str, Any] = {"eps": _one_eps(problem)} if "eps" in accepted else {}
    if "norm" in accepted:
        given["norm"] = problem.threat.norm_name.capitalize()
    if "n_classes" in accepted:
        # Its own is 10, whatever the model has.
        given["n_classes"] = model(problem.x[:1]).shape[1]
    attack = kind(model, **given | dict(settings))
    if problem.goal.target is not None:
        attack.set_mode_targeted_by_label(quiet=True)
    found = attack(problem.x, problem.goal.label)
    assert isinstance(found, Tensor)
    return found


def _run_art(kind: type, settings: Mapping[str, Any], problem: Problem) -> Tensor:
    accepted, target = _accepted(kind), problem.goal.target
    given: dict[str, Any] = {"verbose": False, "batch_size": len(problem.x)}
    if "eps" in accepted:
        # Its own step is absolute, and as large as 0.1.
        given |= {"eps": _one_eps(problem), "eps_step": _one_eps(problem) / 4}
    given |= {"norm": ORDERS.get(problem.threat.norm_name, np.inf)}
    aims = kind.__name__ in AIMING
    if target is not None and not aims and "targeted" not in accepted:
        raise UserError("an attack of ART that has targets", kind.__name__, "choose another")
    given |= {"targeted": target is not None}
    given = {key: value for key, value in given.items() if key in accepted} | dict(settings)
    attack = kind(to_art(problem.model, problem.x), **given)
    y = None if aims and target is None else problem.goal.label.cpu().numpy()
    return torch.from_numpy(attack.generate(x=problem.x.cpu().numpy(), y=y)).to(problem.x)


def _foolbox_nearest(kind: type) -> bool:
    return any(base.__name__ == "MinimizationAttack" for base in kind.__mro__)


def _no_budget(kind: type) -> bool:
    return "eps" not in _accepted(kind)


PEERS = {
    "foolbox": Peer("foolbox.attacks", _foolbox_nearest, _run_foolbox),
    "art": Peer("art.attacks.evasion", _no_budget, _run_art),
    "torchattacks": Peer("torchattacks", _no_budget, _run_torchattacks),
}

L2 = {"CW", "DeepFool", "PGDRSL2", "NewtonFool", "DDNAttack", "CarliniL2Method"}
L1 = {"EADL1", "EADEN", "ElasticNet", "EADAttack", "SparseL1DescentAttack"}
L0 = {"OnePixel", "Pixle", "JSMA", "SparseFool", "PixelAttack", "CarliniL0Method"}
LINF = {"FGSM", "BIM", "PGD", "EOTPGD", "MIFGSM", "NIFGSM", "SINIFGSM", "DIFGSM", "TIFGSM",
        "VMIFGSM", "VNIFGSM", "RFGSM", "FFGSM", "PIFGSM", "UPGD", "TPGD", "SPSA"}  # fmt: skip


def peer_info(text: str) -> AttackInfo:
    """The row of `foolbox:NAME` and its like; without a NAME, of all attacks of that library.

    Raises UserError where the library has no such attack, ToolError where it is not installed.
    """
    library, _, rest = text.partition(":")
    name = rest.partition(":")[0]
    nearest = bool(name) and PEERS[library].nearest(_class(library, name))
    return AttackInfo(
        f"{library}:{name}" if name else library, build_peer, _norms(library, name),
        "minimum-norm" if nearest else "fixed-budget", "white-box", "as the library does it",
        f"as {library} names it", f"{library}:{name}", deterministic=False,
    )  # fmt: skip


def _norms(library: str, name: str) -> tuple[str, ...]:
    """The norms that a peer's attack is made for, from its name; all where that says nothing."""
    for norm in ("linf", "l2", "l1", "l0"):
        if norm in name.lower():
            return (norm,)
    for norm, names in (("l2", L2), ("l1", L1), ("l0", L0)):
        if name in names:
            return (norm,)
    return ("linf",) if library != "art" and name in LINF else NORMS


def build_peer(text: str) -> Attack:
    """Build `LIBRARY:NAME[:key=value,...]`; the settings are the library's own.

    Raises UserError for what there is not, ToolError where the library is not installed.
    """
    library, _, rest = text.partition(":")
    name, _, given = rest.partition(":")
    peer, kind = PEERS[library], _class(library, name)
    settings = _settings(kind, given)
    nearest = peer.nearest(kind)
    note = observe_nearest if nearest else observe

    def step(problem: Problem, state: State) -> State:
        """One step of every sample."""
        with _alone(problem), torch.enable_grad():
            found = peer.run(kind, settings, problem).detach()
        found = torch.where(found.isfinite(), found, problem.x).clamp(*problem.threat.bounds)
        logits = problem.model(found)
        state = note(problem, state._replace(x=found), logits, margin(logits, problem.goal))
        return state._replace(t=state.t + 1)

    return Attack(
        f"{library}:{name}", lambda problem: begin(problem, problem.x), step, 1,
        minimum_norm=nearest, settings=settings,
    )  # fmt: skip


def _class(library: str, name: str) -> type:
    module = _need(PEERS[library].attacks)
    names = [n for n, value in vars(module).items() if inspect.isclass(value)]
    if name not in names:
        near = get_close_matches(name, names, n=3, cutoff=0.4)
        own = ours(name)
        hints = [f"{library}:{n}" for n in near] + ([f"our own {own}"] if own else [])
        raise UserError(
            f"{library}:NAME, an attack of {library}", repr(f"{library}:{name}"),
            f"did you mean {' or '.join(hints)}?" if hints else f"see the manual of {library}",
        )  # fmt: skip
    found: type = getattr(module, name)
    return found


def _settings(kind: type, text: str) -> dict[str, Any]:
    accepted = _accepted(kind) - OWN
    settings: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        if key not in accepted:
            raise UserError(
                f"a setting of {kind.__name__}: {', '.join(sorted(accepted))}", repr(part),
                "the budget is --threat's, and the rest is named as the library names it",
            )  # fmt: skip
        try:
            settings[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            settings[key] = {"true": True, "false": False}.get(value, value)
    return settings


def _accepted(kind: type) -> set[str]:
    return set(inspect.signature(kind.__init__).parameters)  # type: ignore[misc]  # a class's own


def _one_eps(problem: Problem) -> float:
    """The budget, which peers want to be the same for all."""
    first = float(problem.eps[0])
    if bool((problem.eps != first).any()):
        raise UserError("one budget for all samples", "several", "use an attack of robustkit")
    return first


@contextmanager
def _alone(problem: Problem) -> Iterator[None]:
    """Seed the global generators for a peer, silence it, and put the generators back."""
    key = int(problem.draws.at(problem.restart).key[0]) % 2**31
    before = np.random.get_state()  # noqa: NPY002 - it is the one that peers draw from
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(key)
        np.random.seed(key)  # noqa: NPY002 - see above
        try:
            yield
        finally:
            np.random.set_state(before)  # noqa: NPY002 - see above


def _need(module: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return need(module, why="an attack by that library")
        except ToolError as error:
            package = "adversarial-robustness-toolbox" if module.startswith("art") else module
            fix = f"run: pip install {package.partition('.')[0]}; or see robustkit list attacks"
            raise ToolError(error.expected, error.got, fix) from None
