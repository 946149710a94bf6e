"""What other libraries call the attacks that are in our catalogue."""

import re

OURS: dict[str, tuple[str, ...]] = {
    "fgsm": ("FGSM", "FGM", "FastGradientMethod", "LinfFastGradientAttack", "L2FastGradientAttack",
             "L1FastGradientAttack", "GradientSignAttack"),
    "bim": ("BIM", "BasicIterativeMethod", "LinfBasicIterativeAttack", "L2BasicIterativeAttack",
            "L1BasicIterativeAttack", "IFGSM"),
    "pgd": ("PGDL2", "LinfPGD", "L2PGD", "L1PGD", "ProjectedGradientDescent",
            "ProjectedGradientDescentPyTorch", "LinfProjectedGradientDescentAttack",
            "L2ProjectedGradientDescentAttack", "L1ProjectedGradientDescentAttack", "PGDAttack",
            "EOTPGD"),
    "mi-fgsm": ("MIFGSM", "MomentumIterativeMethod", "LinfMomentumIterativeFastGradientMethod",
                "MomentumIterativeAttack"),
    "ni-fgsm": ("NIFGSM",),
    "si-ni-fgsm": ("SINIFGSM",),
    "di-fgsm": ("DIFGSM",),
    "ti-fgsm": ("TIFGSM",),
    "vmi-fgsm": ("VMIFGSM",),
    "apgd-ce": ("APGD", "AutoPGD", "AutoProjectedGradientDescent", "APGDAttack"),
    "apgd-t": ("APGDT", "APGDAttack_targeted"),
    "square": ("Square", "SquareAttack"),
    "fab": ("FAB", "FABAttack"),
    "deepfool": ("DeepFool", "LinfDeepFoolAttack", "L2DeepFoolAttack"),
    "carlini-wagner": ("CW", "C&W", "CarliniL2Method", "CarliniLInfMethod",
                       "L2CarliniWagnerAttack", "CarliniWagnerL2Attack"),
    "ddn": ("DDNAttack",),
    "fmn": ("L0FMNAttack", "L1FMNAttack", "L2FMNAttack", "LInfFMNAttack"),
    "ead": ("EADAttack", "EADL1", "EADEN", "ElasticNet"),
    "boundary": ("BoundaryAttack",),
    "hop-skip-jump": ("HopSkipJump", "HopSkipJumpAttack", "HSJA"),
    "spsa": ("SPSA", "LinfSPSAAttack"),
    "jsma": ("JSMA", "SaliencyMapMethod", "SaliencyMapAttack", "JacobianSaliencyMapAttack"),
    "one-pixel": ("OnePixel", "PixelAttack", "SinglePixelAttack"),
    "universal": ("UniversalPerturbation", "UAP"),
    "rotation-translation": ("SpatialAttack", "SpatialTransformation"),
    "stadv": ("SpatialTransformAttack",),
    "lbfgs": ("LBFGSAttack",),
    "uniform-noise": ("LinfRepeatedAdditiveUniformNoiseAttack",
                      "L2RepeatedAdditiveUniformNoiseAttack"),
    "gaussian-noise": ("L2RepeatedAdditiveGaussianNoiseAttack",),
    "salt-and-pepper": ("SaltAndPepperNoiseAttack",),
}  # fmt: skip
"""Our name -> those of foolbox, ART, torchattacks, advertorch and AutoAttack."""

SUITES = {"autoattack": ("AutoAttack", "AA")}
"""The same for suites."""


def plain(name: str) -> str:
    """A name without its library, its case and its punctuation.

    >>> plain("torchattacks.PGD")
    'pgd'
    """
    return re.sub(r"[^a-z0-9]", "", re.split(r"[.:]", name)[-1].lower())


def ours(name: str) -> str:
    """Our name of a peer's attack, "" where there is none.

    >>> ours("ProjectedGradientDescent"), ours("foolbox.attacks.LinfPGD"), ours("nothing")
    ('pgd', 'pgd', '')
    """
    wanted = plain(name)
    for own, names in OURS.items():
        if wanted in {plain(own), *map(plain, names)}:
            return own
    return ""


def our_suite(name: str) -> str:
    """Our suite for a peer's, "" where there is none."""
    wanted = plain(name)
    return next((own for own, names in SUITES.items() if wanted in map(plain, names)), "")
