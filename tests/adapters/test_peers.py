"""Attacks of other libraries behind our referee: same numbers, same counters, nothing changed."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import robustkit as rk
from robustkit.attacks import build, info
from robustkit.attacks.peers import to_art, to_foolbox, to_torchattacks
from robustkit.audit.attacking import attack
from robustkit.audit.plan import make_plan
from robustkit.errors import PlanErrors, UserError
from robustkit.model import Classifier
from robustkit.zoo import load_model, load_samples
from tests.adapters.conftest import need_peer

PGD = {
    "foolbox": "foolbox:LinfPGD:steps=20,rel_stepsize=0.1",
    "torchattacks": "torchattacks:PGD:steps=20,alpha=0.01",
    "art": "art:ProjectedGradientDescent:max_iter=20,eps_step=0.01,num_random_init=1",
}
NEAREST = {
    "foolbox": "foolbox:L2DeepFoolAttack",
    "torchattacks": "torchattacks:DeepFool",
    "art": "art:DeepFool",
}


@pytest.fixture(params=sorted(PGD))
def peer(request: pytest.FixtureRequest) -> str:
    need_peer(request.param)
    return str(request.param)


@pytest.fixture
def model() -> Classifier:
    return load_model("digits-standard")


class Four(nn.Module):
    """Keeps four of all logits."""

    def forward(self, logits: Tensor) -> Tensor:
        return logits[:, :4]


def pictures(count: int = 64):
    samples = load_samples("digits").take(count)
    return samples.pixels(slice(0, count)), samples.y


def test_pgd_comes_out_as_ours_does(peer: str, model: Classifier) -> None:
    x, y = pictures(200)
    own = attack("pgd:steps=20,step_size=0.01", model, x, y, "linf:0.1")
    theirs = attack(PGD[peer], model, x, y, "linf:0.1")
    # ART returns the last point, not the first that succeeded.
    apart = {"art": 12}.get(peer, 6)
    assert abs(int(own.fooled.sum()) - int(theirs.fooled.sum())) <= apart
    assert 20 < int(own.fooled.sum()) < 200
    assert float(theirs.size.max()) <= 0.1 + 1e-6


def test_the_user_s_model_is_left_as_it_was(peer: str, model: Classifier) -> None:
    module = torch.nn.Sequential(model.module, torch.nn.Dropout(0.5)).train()
    module[0].eval()
    before = [part.training for part in module.modules()]
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    state, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - theirs
    x, y = pictures(8)
    attack(PGD[peer], Classifier(module, preprocess=model.preprocess), x, y, "linf:0.1")
    assert [part.training for part in module.modules()] == before
    assert all(weight.grad is None and weight.requires_grad for weight in module.parameters())
    assert all(torch.equal(value, weights[name]) for name, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numbers).all()  # noqa: NPY002 - theirs


def test_passes_are_counted_and_runs_repeat(peer: str, model: Classifier) -> None:
    x, y = pictures(8)
    one, two = (attack(PGD[peer], model, x, y, "linf:0.1", seed=3) for _ in range(2))
    assert one.backwards == 8 * 20
    assert one.forwards >= 8 * 21
    assert torch.equal(one.x_adv, two.x_adv)


def test_targets_are_reached(peer: str, model: Classifier) -> None:
    x, y = pictures(16)
    target = (y + 1) % 10
    result = attack(PGD[peer], model, x, y, "linf:0.3", target=target)
    assert int(result.fooled.sum()) >= 8
    assert bool((result.prediction[result.fooled] == target[result.fooled]).all())


def test_what_always_aims_gets_the_target_and_not_the_label(model: Classifier) -> None:
    need_peer("art")
    x, y = pictures(8)
    target = (y + 1) % 10
    text = "art:SaliencyMapMethod:gamma=0.5"
    aimed = attack(text, model, x, y, "l0:64", target=target)
    assert int(aimed.fooled.sum()) >= 4
    assert bool((aimed.prediction[aimed.fooled] == target[aimed.fooled]).all())
    assert int(attack(text, model, x, y, "l0:64").fooled.sum()) >= 4


def test_as_many_classes_are_tried_as_there_are(model: Classifier) -> None:
    need_peer("torchattacks")
    x, _ = pictures(64)
    few = Classifier(nn.Sequential(model.module, Four()), preprocess=model.preprocess)
    with few.frozen(), torch.no_grad():
        y = few(x).argmax(1)
    for name in ("APGDT", "FAB:multi_targeted=True"):
        result = attack(f"torchattacks:{name}", few, x, y, "linf:0.05")
        assert 8 <= int(result.fooled.sum()) < 64


def test_the_nearest_are_sought_without_a_budget(peer: str, model: Classifier) -> None:
    built = build(NEAREST[peer])
    assert built.minimum_norm
    x, y = pictures(16)
    result = attack(built, model, x, y, "l2:3")
    # What ends on the boundary itself is lost to the referee.
    assert int(result.fooled.sum()) >= 8
    own = attack("deepfool", model, x, y, "l2:3")
    both = result.fooled & own.fooled
    assert 0.5 < float(result.size[both].median() / own.size[both].median()) < 2


def test_a_report_names_them(peer: str) -> None:
    log = rk.audit(
        "zoo:digits-standard", "zoo:digits", "linf:0.1", attacks=["fgsm", PGD[peer]], samples=12
    )
    record = log.threats[0].attacks[1]
    assert record.name == PGD[peer]
    assert record.access == "white-box"
    assert record.fooled >= 1


def test_another_norm_is_refused_before_anything_is_loaded(peer: str) -> None:
    text = {"foolbox": "foolbox:L2PGD", "torchattacks": "torchattacks:PGDL2", "art": NEAREST["art"]}
    if peer == "art":
        assert "linf" in info("art:ProjectedGradientDescent").norms
    with pytest.raises(PlanErrors, match="for l2" if peer != "art" else "which is for"):
        make_plan(threats=["linf:0.1"], attacks=[text[peer]])


def test_a_name_that_is_not_there_gets_suggestions(peer: str) -> None:
    text = {"foolbox": "LinfPDG", "torchattacks": "PDG", "art": "ProjectedGradientDecsent"}[peer]
    with pytest.raises(UserError, match=r"did you mean .*(PGD|ProjectedGradientDescent)"):
        build(f"{peer}:{text}")


def test_settings_are_the_library_s_own_and_the_budget_is_ours(peer: str) -> None:
    name = PGD[peer].rpartition(":")[0]
    for given in ("nonsense=1", "eps=0.5"):
        with pytest.raises(UserError, match="a setting of"):
            build(f"{name}:{given}")


def test_classifiers_convert_with_their_preprocessing(peer: str, model: Classifier) -> None:
    x, _ = pictures(4)
    with model.frozen(), torch.no_grad():
        expected = model(x)
        if peer == "foolbox":
            given = to_foolbox(model)(x)
        elif peer == "torchattacks":
            given = to_torchattacks(model)(x)
        else:
            given = torch.from_numpy(to_art(model, x).predict(x.numpy()))
    torch.testing.assert_close(given, expected)
