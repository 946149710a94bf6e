"""The table of parity: each attack of the catalogue beside an independent implementation of it."""

from typing import NamedTuple

CIFAR = "mean=0.491373,0.482353,0.446667;std=0.247059,0.243529,0.261569"
MODELS = {
    "cifar10/cnn-a-adversarial": ("nets:cnn_a", CIFAR, "cifar10/sdp-200"),
    "mnist/small-provable": ("nets:small_mnist", "none", "mnist/test-1000"),
    "mnist/lenet5-standard": ("nets:lenet5", "none", "mnist/test-1000"),
}
CNN, PROVABLE, LENET = MODELS
EPS = 2 / 255


class Case(NamedTuple):
    """Ours and theirs on the first `samples` pictures of a model.

    `weaker` says why theirs is not as good, where it is not: the test then demands that it is not.
    """

    own: str
    theirs: str
    threat: str
    model: str = CNN
    samples: int = 200
    weaker: str = ""
    slow: bool = True


def _quick(own: str, theirs: str, threat: str, weaker: str = "") -> Case:
    return Case(own, theirs, threat, weaker=weaker, slow=False)


PARITY: dict[str, tuple[Case, ...]] = {
    "fgsm": (
        _quick("fgsm", "foolbox:LinfFastGradientAttack", "linf:2/255"),
        _quick("fgsm", "torchattacks:FGSM", "linf:2/255"),
        _quick("fgsm", "foolbox:L2FastGradientAttack", "l2:0.25"),
        Case("fgsm", "foolbox:LinfFastGradientAttack", "linf:0.1", LENET, 500),
    ),
    "bim": (
        _quick("bim:step_size=0.0015686", "foolbox:LinfBasicIterativeAttack", "linf:2/255"),
        _quick("bim:step_size=0.0015686", "torchattacks:BIM:alpha=0.0015686", "linf:2/255"),
        _quick("bim:step_size=0.05", "foolbox:L2BasicIterativeAttack", "l2:0.25"),
        Case(
            "bim:step_size=0.02", "foolbox:LinfBasicIterativeAttack", "linf:0.1", LENET, 500
        ),
    ),
    "pgd": (
        _quick("pgd:step_size=0.0007843", "foolbox:LinfPGD:steps=20,rel_stepsize=0.1",
               "linf:2/255"),
        _quick("pgd:step_size=0.0007843", "torchattacks:PGD:steps=20,alpha=0.0007843",
               "linf:2/255"),
        Case("pgd:step_size=0.0007843",
             "art:ProjectedGradientDescent:max_iter=20,eps_step=0.0007843,num_random_init=1",
             "linf:2/255"),
        _quick("pgd:step_size=0.025", "foolbox:L2PGD:steps=20,rel_stepsize=0.1", "l2:0.25"),
        _quick("pgd:step_size=0.025", "torchattacks:PGDL2:steps=20,alpha=0.025", "l2:0.25"),
        Case("pgd:step_size=0.01,loss=cross-entropy", "foolbox:LinfPGD:steps=20,rel_stepsize=0.1",
             "linf:0.1", LENET, 500),
        Case("pgd:step_size=0.03", "torchattacks:PGD:steps=20,alpha=0.03",
             "linf:0.3", PROVABLE, 500),
    ),
    "mi-fgsm": (
        _quick("mi-fgsm:step_size=0.0007843", "torchattacks:MIFGSM:alpha=0.0007843",
               "linf:2/255"),
        Case("mi-fgsm:step_size=0.01", "torchattacks:MIFGSM:alpha=0.01", "linf:0.1", LENET, 500),
    ),
    "ni-fgsm": (
        _quick("ni-fgsm:step_size=0.0007843", "torchattacks:NIFGSM:alpha=0.0007843",
               "linf:2/255"),
    ),
    "si-ni-fgsm": (
        Case("si-ni-fgsm:step_size=0.0007843", "torchattacks:SINIFGSM:alpha=0.0007843",
             "linf:2/255"),
    ),
    "di-fgsm": (
        Case("di-fgsm:step_size=0.0007843", "torchattacks:DIFGSM:alpha=0.0007843,decay=1.0",
             "linf:2/255", weaker="it resizes a whole batch alike and gives out the last point"),
    ),
    "ti-fgsm": (
        Case("ti-fgsm:step_size=0.0007843", "torchattacks:TIFGSM:alpha=0.0007843,decay=1.0",
             "linf:2/255"),
    ),
    "vmi-fgsm": (
        Case("vmi-fgsm:step_size=0.0007843", "torchattacks:VMIFGSM:alpha=0.0007843",
             "linf:2/255"),
    ),
    "apgd-ce": (
        Case("apgd-ce", "autoattack:apgd-ce", "linf:2/255"),
        Case("apgd-ce", "autoattack:apgd-ce", "l2:0.25"),
        Case("apgd-ce", "autoattack:apgd-ce", "linf:0.3", PROVABLE, 500),
    ),
    "apgd-dlr": (
        Case("apgd-dlr", "autoattack:apgd-dlr", "linf:2/255"),
        Case("apgd-dlr", "autoattack:apgd-dlr", "l2:0.25"),
    ),
    "apgd-t": (
        Case("apgd-t:steps=20", "autoattack:apgd-t:n_iter=20", "linf:2/255"),
        Case("apgd-t:steps=20", "autoattack:apgd-t:n_iter=20", "l2:0.25"),
    ),
    "square": (
        Case("square:queries=300", "autoattack:square:n_queries=300", "linf:0.3", PROVABLE, 500),
        Case("square:queries=300", "autoattack:square:n_queries=300", "linf:2/255"),
    ),
    "fab": (
        Case("fab:steps=30", "autoattack:fab:n_iter=30", "linf:1", samples=40),
        Case("fab:steps=30", "autoattack:fab:n_iter=30", "l2:100", samples=40),
    ),
    "fab-t": (
        Case(
            "fab-t:steps=10", "autoattack:fab-t:n_iter=10", "l2:100", samples=40,
            weaker="a success within any eps ends its targets, so without one it tries only one",
        ),
    ),
    "deepfool": (
        Case("deepfool", "foolbox:L2DeepFoolAttack", "l2:100", samples=100),
        Case("deepfool", "foolbox:LinfDeepFoolAttack", "linf:1", samples=100),
    ),
    "ddn": (Case("ddn:steps=100", "foolbox:DDNAttack", "l2:100", samples=50),),
    "fmn": (
        Case("fmn:steps=100", "foolbox:LInfFMNAttack", "linf:1", samples=50),
        Case("fmn:steps=100", "adv_lib:fmn:steps=100", "l2:100", samples=50),
        Case(
            "fmn:steps=100", "foolbox:L2FMNAttack", "l2:100", samples=50,
            weaker="its projection measures the picture instead of the perturbation",
        ),
        Case("fmn:steps=100", "foolbox:L1FMNAttack", "l1:1000", samples=50),
        Case("fmn:steps=100", "adv_lib:fmn:steps=100", "l0:3072", samples=50),
    ),
    "pdpgd": (
        Case("pdpgd:steps=200", "adv_lib:pdpgd:num_steps=200", "l1:1000", samples=50),
        Case("pdpgd:steps=200", "adv_lib:pdpgd:num_steps=200", "linf:1", samples=50),
    ),
    "sigma-zero": (
        Case("sigma-zero:steps=200", "adv_lib:sigma_zero:num_steps=200", "l0:3072", samples=50),
    ),
    "carlini-wagner": (
        Case("carlini-wagner:steps=900", "foolbox:L2CarliniWagnerAttack:steps=100", "l2:100",
             samples=20),
        Case("carlini-wagner:steps=900", "adv_lib:carlini_wagner_linf:max_iterations=30", "linf:1",
             samples=20),
    ),
    "ead": (
        Case("ead:steps=900", "foolbox:EADAttack:steps=100,decision_rule=L1", "l1:1000",
             samples=20),
    ),
    "boundary": (
        Case("boundary:queries=1500", "foolbox:BoundaryAttack:steps=1500", "l2:100", samples=12),
    ),
    "hop-skip-jump": (
        Case("hop-skip-jump:queries=2500", "foolbox:HopSkipJumpAttack:steps=10", "l2:100",
             samples=12),
    ),
}  # fmt: skip
"""Keyed by catalogue name. Settings that neither side names are each side's own defaults."""

NO_PEER = {
    "min-pgd": "budgets bisected around pgd, which has rows; scripts/optimality.py compares it",
    "min-apgd-t": "budgets bisected around apgd-t; scripts/optimality.py compares it",
    "rays": "its authors' code is no package; tests/truth has its closed form",
    "nes": "only ARES has it, whose defaults draw nothing and never end",
    "spsa": "torchattacks counts no queries and has a step of its own; tests/truth has its truth",
    "one-pixel": "torchattacks evolves picture by picture, for minutes; tests/truth has its truth",
    "jsma": "ART and torchattacks saturate pairs of values, ours pixels one by one",
    "lbfgs": "cleverhans needs another framework; tests/truth has its closed form",
    "masked-pgd": "no peer optimises one patch a picture; ART's is one for all, its gradient wrong",
    "masked-apgd": "no peer optimises one patch a picture",
    "patch-rs": "its authors' code is no package",
    "orthogonal-pgd": "its authors' code is no package",
    "feature-matching": "ART's is told the source, and in other units; tests/truth has its truth",
    "uniform-noise": "what blind draws find is a matter of the draws; tests/truth has its truth",
    "gaussian-noise": "foolbox fixes the noise's length, ours its deviation",
    "salt-and-pepper": "foolbox's looks for the least noise, ours keeps to a budget",
    "rotation-translation": "ART takes its grid in other units; tests/truth has its truth",
    "worst-of-k": "a draw from rotation-translation's grid, which no peer has",
    "stadv": "no peer of these has it",
    "corruption": "none of these peers has corruptions",
    "universal": "foolbox has none, ART's stops at a rate; tests/patch has its truth",
}
"""Why an attack of the catalogue is compared with nobody."""
