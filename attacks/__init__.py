"""The attack catalogue: one row an attack, and `build("pgd:steps=40")`.

Third parties join through the entry-point group `robustkit.attacks`, whose entries are
`AttackInfo` rows.
"""

if __name__ != "robustkit.attacks":
    raise ImportError(
        "import robustkit.attacks, not attacks: the folder is mapped by pyproject.toml"
    )

from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points

from robustkit.attacks.apgd import apgd, apgd_dlr, apgd_t
from robustkit.attacks.attack import Attack, AttackInfo
from robustkit.attacks.bisected import bisected, min_apgd_t, min_pgd
from robustkit.attacks.boundary import boundary
from robustkit.attacks.carlini_wagner import carlini_wagner
from robustkit.attacks.corruption import corruption, corruption_accuracy
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
from robustkit.attacks.peer_names import our_suite, ours
from robustkit.attacks.peers import PEERS, build_peer, peer_info
from robustkit.attacks.pgd import bim, fgsm, pgd
from robustkit.attacks.rays import rays
from robustkit.attacks.rows import ROWS
from robustkit.attacks.sigma_zero import sigma_zero
from robustkit.attacks.spatial import rotation_translation, worst_of_k
from robustkit.attacks.spsa import spsa
from robustkit.attacks.square import square
from robustkit.attacks.stadv import stadv
from robustkit.attacks.universal import universal
from robustkit.attacks.viewed import viewed
from robustkit.attacks.written import defaults, read_settings
from robustkit.errors import UserError


@cache
def catalogue() -> dict[str, AttackInfo]:
    """Every attack by name, ours first, then those of other installed packages."""
    rows = {row.name: row for row in ROWS}
    for entry in entry_points(group="robustkit.attacks"):
        row = entry.load()
        rows.setdefault(row.name, row)
    return rows


def info(name: str) -> AttackInfo:
    """The row of an attack by its name, or as `build` reads it.

    Raises UserError with near names if there is none.

    >>> info("pgd:steps=40").kind
    'fixed-budget'
    """
    rows = catalogue()
    own = name.partition("@")[0].partition(":")[0]
    if own in PEERS:
        return peer_info(name)
    if own not in rows:
        raise UserError("the name of an attack", repr(own), _hint(own))
    return rows[own]


def _hint(name: str) -> str:
    """What may have been meant by a name that we do not have."""
    if our_suite(name):
        return f"did you mean --suite {our_suite(name)}?"
    near = get_close_matches(name.lower(), catalogue(), n=3, cutoff=0.5)
    near = [known] if (known := ours(name)) in catalogue() else near
    return f"did you mean {' or '.join(near)}?" if near else "see robustkit list attacks"


def build(text: str) -> Attack:
    """Build an attack from `NAME[:key=value,...]`; raises UserError for what it does not take.

    With `@VIEW` behind it, it looks at that view of a defended model (`viewed`).

    >>> build("pgd:steps=40,restarts=2").restarts
    2
    >>> build("pgd:steps=40@undefended").name
    'pgd@undefended'
    """
    text, _, view = text.partition("@")
    if view:
        return viewed(build(text), view)
    name, _, rest = text.partition(":")
    if name in PEERS:
        return build_peer(text)
    row = info(name)
    return row.build(**read_settings(name, rest, defaults(row.build)))


__all__ = [
    "Attack", "AttackInfo", "apgd", "apgd_dlr", "apgd_t", "bim", "bisected", "boundary",
    "build", "carlini_wagner", "catalogue", "corruption", "corruption_accuracy", "ddn",
    "deepfool", "di_fgsm", "ead", "fab", "fab_t", "feature_matching", "fgsm", "fmn",
    "gaussian_noise", "hop_skip_jump", "info", "jsma", "lbfgs", "masked_apgd", "masked_pgd",
    "mi_fgsm", "min_apgd_t", "min_pgd", "nes", "ni_fgsm", "one_pixel", "orthogonal_pgd",
    "patch_rs", "pdpgd", "pgd", "rays", "rotation_translation", "salt_and_pepper", "si_ni_fgsm",
    "sigma_zero", "spsa", "square", "stadv", "ti_fgsm", "uniform_noise", "universal",
    "vmi_fgsm", "worst_of_k",
]  # fmt: skip
