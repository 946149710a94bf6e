"""The rows of the catalogue: what each attack is and claims; the contract tests verify it."""

from robustkit.attacks.apgd import apgd, apgd_dlr, apgd_t
from robustkit.attacks.attack import AttackInfo
from robustkit.attacks.bisected import min_apgd_t, min_pgd
from robustkit.attacks.boundary import boundary
from robustkit.attacks.carlini_wagner import carlini_wagner
from robustkit.attacks.corruption import corruption
from robustkit.attacks.ddn import ddn
from robustkit.attacks.deepfool import deepfool
from robustkit.attacks.ead import ead
from robustkit.attacks.fab import fab, fab_t
from robustkit.attacks.feature_matching import feature_matching
from robustkit.attacks.fmn import fmn
from robustkit.attacks.hop_skip_jump import hop_skip_jump
from robustkit.attacks.jsma import jsma
from robustkit.attacks.lbfgs import lbfgs
from robustkit.attacks.masked_pgd import masked_apgd, masked_pgd
from robustkit.attacks.momentum import di_fgsm, mi_fgsm, ni_fgsm, si_ni_fgsm, ti_fgsm, vmi_fgsm
from robustkit.attacks.nes import nes
from robustkit.attacks.noise import gaussian_noise, salt_and_pepper, uniform_noise
from robustkit.attacks.one_pixel import one_pixel
from robustkit.attacks.orthogonal_pgd import orthogonal_pgd
from robustkit.attacks.patch_rs import patch_rs
from robustkit.attacks.pdpgd import pdpgd
from robustkit.attacks.pgd import bim, fgsm, pgd
from robustkit.attacks.rays import rays
from robustkit.attacks.sigma_zero import sigma_zero
from robustkit.attacks.spatial import rotation_translation, worst_of_k
from robustkit.attacks.spsa import spsa
from robustkit.attacks.square import square
from robustkit.attacks.stadv import stadv
from robustkit.attacks.universal import universal

LP = ("linf", "l2", "l1")

ROWS = (
    AttackInfo(
        "fgsm", fgsm, LP, "fixed-budget", "white-box", "2 forwards, 1 backward",
        "Goodfellow et al. 2014, arXiv 1412.6572", "foolbox:LinfFastGradientAttack",
    ),
    AttackInfo(
        "bim", bim, LP, "fixed-budget", "white-box", "1 forward and backward a step",
        "Kurakin et al. 2016, arXiv 1607.02533", "foolbox:LinfBasicIterativeAttack",
    ),
    AttackInfo(
        "pgd", pgd, LP, "fixed-budget", "white-box", "1 forward and backward a step",
        "Madry et al. 2018, arXiv 1706.06083", "foolbox:LinfProjectedGradientDescentAttack",
    ),
    AttackInfo(
        "mi-fgsm", mi_fgsm, LP, "fixed-budget", "white-box", "1 forward and backward a step",
        "Dong et al. 2018, arXiv 1710.06081", "torchattacks:MIFGSM",
    ),
    AttackInfo(
        "ni-fgsm", ni_fgsm, ("linf",), "fixed-budget", "white-box",
        "2 forwards, 1 backward a step",
        "Lin et al. 2020, arXiv 1908.06281", "torchattacks:NIFGSM",
    ),
    AttackInfo(
        "si-ni-fgsm", si_ni_fgsm, ("linf",), "fixed-budget", "white-box",
        "6 forwards, 5 backwards a step",
        "Lin et al. 2020, arXiv 1908.06281", "torchattacks:SINIFGSM",
    ),
    AttackInfo(
        "di-fgsm", di_fgsm, LP, "fixed-budget", "white-box", "2 forwards, 1 backward a step",
        "Xie et al. 2019, arXiv 1803.06978", "torchattacks:DIFGSM",
    ),
    AttackInfo(
        "ti-fgsm", ti_fgsm, LP, "fixed-budget", "white-box", "1 forward and backward a step",
        "Dong et al. 2019, arXiv 1904.02884", "torchattacks:TIFGSM",
    ),
    AttackInfo(
        "vmi-fgsm", vmi_fgsm, LP, "fixed-budget", "white-box", "6 forwards and backwards a step",
        "Wang & He 2021, arXiv 2103.15571", "torchattacks:VMIFGSM",
    ),
    AttackInfo(
        "apgd-ce", apgd, LP, "fixed-budget", "white-box", "1 forward and backward a step",
        "Croce & Hein 2020, arXiv 2003.01690", "autoattack:apgd-ce",
    ),
    AttackInfo(
        "apgd-dlr", apgd_dlr, LP, "fixed-budget", "white-box", "1 forward and backward a step",
        "Croce & Hein 2020, arXiv 2003.01690", "autoattack:apgd-dlr",
    ),
    AttackInfo(
        "apgd-t", apgd_t, LP, "fixed-budget", "white-box",
        "1 forward and backward a step and target",
        "Croce & Hein 2020, arXiv 2003.01690", "autoattack:apgd-t",
    ),
    AttackInfo(
        "square", square, LP, "fixed-budget", "scores", "1 forward a query",
        "Andriushchenko et al. 2020, arXiv 1912.00049", "autoattack:square",
    ),
    AttackInfo(
        "fab", fab, LP, "minimum-norm", "white-box", "1 forward and K backwards a step",
        "Croce & Hein 2020, arXiv 1907.02044", "autoattack:fab",
    ),
    AttackInfo(
        "fab-t", fab_t, LP, "minimum-norm", "white-box",
        "1 to 2 forwards and backwards a step and target",
        "Croce & Hein 2020, arXiv 1907.02044", "autoattack:fab-t",
    ),
    AttackInfo(
        "deepfool", deepfool, ("linf", "l2"), "minimum-norm", "white-box",
        "9 forwards and backwards a step",
        "Moosavi-Dezfooli et al. 2016, arXiv 1511.04599", "foolbox:L2DeepFoolAttack",
    ),
    AttackInfo(
        "sigma-zero", sigma_zero, ("l0",), "minimum-norm", "white-box",
        "1 forward and backward a step",
        "Cina et al. 2025, arXiv 2402.01879", "adv_lib:sigma_zero",
    ),
    AttackInfo(
        "pdpgd", pdpgd, LP, "minimum-norm", "white-box", "1 forward and backward a step",
        "Matyasko & Chau 2021, arXiv 2106.01538", "adv_lib:pdpgd",
    ),
    AttackInfo(
        "carlini-wagner", carlini_wagner, ("linf", "l2"), "minimum-norm", "white-box",
        "1 forward and backward a step",
        "Carlini & Wagner 2017, arXiv 1608.04644", "foolbox:L2CarliniWagnerAttack",
    ),
    AttackInfo(
        "nes", nes, ("linf", "l2"), "fixed-budget", "scores", "51 forwards a step",
        "Ilyas et al. 2018, arXiv 1804.08598", "ares:nes",
    ),
    AttackInfo(
        "spsa", spsa, ("linf", "l2"), "fixed-budget", "scores", "129 forwards a step",
        "Uesato et al. 2018, arXiv 1802.05666", "advertorch:LinfSPSAAttack",
    ),
    AttackInfo(
        "rays", rays, ("linf",), "minimum-norm", "decisions", "1 forward a query",
        "Chen & Gu 2020, arXiv 2006.12792", "uclaml:RayS", targeted=False,
    ),
    AttackInfo(
        "hop-skip-jump", hop_skip_jump, ("linf", "l2"), "minimum-norm", "decisions",
        "1 forward a query",
        "Chen et al. 2020, arXiv 1904.02144", "foolbox:HopSkipJumpAttack", targeted=False,
    ),
    AttackInfo(
        "boundary", boundary, ("l2",), "minimum-norm", "decisions", "1 forward a query",
        "Brendel et al. 2018, arXiv 1712.04248", "foolbox:BoundaryAttack", targeted=False,
    ),
    AttackInfo(
        "one-pixel", one_pixel, ("l0",), "fixed-budget", "scores", "1 forward a query",
        "Su et al. 2019, arXiv 1710.08864", "torchattacks:OnePixel",
    ),
    AttackInfo(
        "ddn", ddn, ("l2",), "minimum-norm", "white-box", "1 forward and backward a step",
        "Rony et al. 2019, arXiv 1811.09600", "foolbox:DDNAttack",
    ),
    AttackInfo(
        "fmn", fmn, ("linf", "l2", "l1", "l0"), "minimum-norm", "white-box",
        "1 forward and backward a step",
        "Pintor et al. 2021, arXiv 2102.12827", "adv_lib:fmn",
    ),
    AttackInfo(
        "ead", ead, ("l1",), "minimum-norm", "white-box", "1 forward and backward a step",
        "Chen et al. 2018, arXiv 1709.04114", "foolbox:EADAttack",
    ),
    AttackInfo(
        "masked-pgd", masked_pgd, ("patch",), "fixed-budget", "white-box",
        "1 forward and backward a step, 27 forwards for the place",
        "Karmon et al. 2018, arXiv 1801.02608", "art:AdversarialPatchPyTorch",
    ),
    AttackInfo(
        "masked-apgd", masked_apgd, ("patch",), "fixed-budget", "white-box",
        "1 forward and backward a step, 27 forwards for the place",
        "Croce & Hein 2020, arXiv 2003.01690, inside a patch", "art:AdversarialPatchPyTorch",
    ),
    AttackInfo(
        "patch-rs", patch_rs, ("patch",), "fixed-budget", "scores", "1 forward a query",
        "Croce et al. 2022, arXiv 2006.12834", "sparse_rs:RSAttack",
    ),
    AttackInfo(
        "min-pgd", min_pgd, LP, "minimum-norm", "white-box", "1 forward and backward a step",
        "Madry et al. 2018, arXiv 1706.06083, eps bisected",
        "foolbox:L2ProjectedGradientDescentAttack",
    ),
    AttackInfo(
        "min-apgd-t", min_apgd_t, LP, "minimum-norm", "white-box",
        "2 forwards, 1 backward a step and target",
        "Croce & Hein 2020, arXiv 2003.01690, eps bisected", "adv_lib:minimal_apgd",
    ),
    AttackInfo(
        "jsma", jsma, ("l0",), "minimum-norm", "white-box", "1 forward and backward a pixel",
        "Papernot et al. 2016, arXiv 1511.07528", "art:SaliencyMapMethod",
    ),
    AttackInfo(
        "lbfgs", lbfgs, ("l2",), "minimum-norm", "white-box", "1 forward and backward a step",
        "Szegedy et al. 2014, arXiv 1312.6199", "cleverhans:LBFGS",
    ),
    AttackInfo(
        "orthogonal-pgd", orthogonal_pgd, LP, "fixed-budget", "white-box",
        "1 forward and 2 backwards a step",
        "Bryniarski et al. 2021, arXiv 2106.15023", "orthogonal_pgd:OrthogonalPGD",
    ),
    AttackInfo(
        "feature-matching", feature_matching, LP, "fixed-budget", "white-box",
        "1 forward and backward a step, 1 forward for each source",
        "Sabour et al. 2016, arXiv 1511.05122", "art:FeatureAdversariesPyTorch", joint=True,
    ),
    AttackInfo(
        "uniform-noise", uniform_noise, ("linf", "l2", "l1", "l0"), "fixed-budget", "none",
        "1 forward a try",
        "Rauber et al. 2017, arXiv 1707.04131",
        "foolbox:LinfRepeatedAdditiveUniformNoiseAttack", targeted=False,
    ),
    AttackInfo(
        "gaussian-noise", gaussian_noise, LP, "fixed-budget", "none", "1 forward a try",
        "Rauber et al. 2017, arXiv 1707.04131",
        "foolbox:L2RepeatedAdditiveGaussianNoiseAttack", targeted=False,
    ),
    AttackInfo(
        "salt-and-pepper", salt_and_pepper, ("l1", "l0"), "fixed-budget", "none", "1 forward a try",
        "Rauber et al. 2017, arXiv 1707.04131",
        "foolbox:SaltAndPepperNoiseAttack", targeted=False,
    ),
    AttackInfo(
        "rotation-translation", rotation_translation, ("spatial",), "fixed-budget", "none",
        "1 forward a move, 775 moves",
        "Engstrom et al. 2019, arXiv 1712.02779", "foolbox:SpatialAttack",
    ),
    AttackInfo(
        "worst-of-k", worst_of_k, ("spatial",), "fixed-budget", "none", "1 forward a move",
        "Engstrom et al. 2019, arXiv 1712.02779", "art:SpatialTransformation",
    ),
    AttackInfo(
        "stadv", stadv, ("flow",), "fixed-budget", "white-box", "1 forward and backward a step",
        "Xiao et al. 2018, arXiv 1801.02612", "advertorch:SpatialTransformAttack",
    ),
    AttackInfo(
        "corruption", corruption, ("corruption",), "fixed-budget", "none",
        "1 forward a kind and try",
        "Hendrycks & Dietterich 2019, arXiv 1903.12261", "hendrycks:make_imagenet_c",
        targeted=False,
    ),
    AttackInfo(
        "universal", universal, LP, "fixed-budget", "white-box",
        "2 forwards and 1 backward a picture and epoch",
        "Moosavi-Dezfooli et al. 2017, arXiv 1610.08401", "art:UniversalPerturbation", joint=True,
    ),
)  # fmt: skip
