"""Where a finding, or the audit itself, belongs in the catalogues that auditors ask for.

A reference says that the result is evidence that helps with an entry, never that anything
complies with it. Sources: MITRE ATLAS 5.6, NIST AI 100-2e2025, OWASP ML Top 10 (2023, draft),
Regulation (EU) 2024/1689, ISO/IEC 24029.
"""

from typing import NamedTuple

from robustkit.records import AuditLog, Finding
from robustkit.report.verdict import is_black_box

DISCLAIMER = "Evidence that helps with these entries; no statement of conformity with any of them."


class Reference(NamedTuple):
    """An entry of a catalogue: `catalogue`, its `id` there, and its `title`."""

    catalogue: str
    id: str
    title: str

    def __str__(self) -> str:
        """The entry in a line."""
        return f"{self.catalogue} {self.id} ({self.title})"


ATLAS, NIST, OWASP, EU, ISO = (
    "MITRE ATLAS", "NIST AI 100-2", "OWASP ML", "EU AI Act", "ISO/IEC",
)  # fmt: skip

_EVADE = Reference(ATLAS, "AML.T0015", "Evade AI Model")
_INPUT = Reference(OWASP, "ML01:2023", "Input Manipulation Attack")
_ARTICLE = Reference(EU, "Art. 15(5)", "resilience against adversarial examples or model evasion")
_VALIDATE = Reference(ATLAS, "AML.M0008", "Validate AI Model")
_ACCURACY = Reference(EU, "Art. 15(4)", "resilience against errors, faults and inconsistencies")

WHITE_BOX = (
    Reference(ATLAS, "AML.T0043.000", "White-Box Optimization"),
    Reference(ATLAS, "AML.T0044", "Full AI Model Access"),
    _EVADE,
    Reference(NIST, "NISTAML.022", "Evasion"),
    _INPUT,
    _ARTICLE,
    Reference(ISO, "24029-1:2021", "assessment of the robustness of neural networks"),
)
BLACK_BOX = (
    Reference(ATLAS, "AML.T0043.001", "Black-Box Optimization"),
    Reference(ATLAS, "AML.T0040", "AI Model Inference API Access"),
    Reference(NIST, "NISTAML.025", "Black-box Evasion"),
    _INPUT,
    _ARTICLE,
)
MASKED = (_VALIDATE, _EVADE, Reference(NIST, "NISTAML.022", "Evasion"), _ARTICLE)
"""A robustness claim that the tests do not bear out."""
FAULTY = (_VALIDATE, _ACCURACY)
"""A model that errs or answers inconsistently without any attacker."""
ARTIFACT = (
    Reference(ATLAS, "AML.T0011.000", "Unsafe AI Artifacts"),
    Reference(ATLAS, "AML.T0018.002", "Embed Malware"),
    Reference(ATLAS, "AML.M0014", "Verify AI Artifacts"),
    Reference(OWASP, "ML06:2023", "AI Supply Chain Attacks"),
    _ARTICLE,
)
HARDEN = Reference(ATLAS, "AML.M0003", "Model Hardening")

_BY_FINDING = {
    "RK-BLACK-BOX": BLACK_BOX,
    "RK-NONFINITE": FAULTY,
    "RK-TRAIN-MODE": FAULTY,
    "RK-RANDOM": FAULTY,
    "RK-BATCH": FAULTY,
    "RK-CHANCE": FAULTY,
    "RK-SILENT": FAULTY,
    "RK-UNSAFE-LOAD": ARTIFACT,
}


def references(finding: Finding) -> tuple[Reference, ...]:
    """The entries that a finding is evidence for; most findings doubt a robustness claim.

    >>> from robustkit.records import Finding
    >>> references(Finding(id="RK-BATCH", severity="low", message="", fix=""))[0].id
    'AML.M0008'
    """
    return _BY_FINDING.get(finding.id, MASKED)


def covered(log: AuditLog) -> tuple[Reference, ...]:
    """The entries that the audit as a whole is evidence for, by the attacks that were run."""
    attacks = [attack for threat in log.threats for attack in threat.attacks]
    black = [is_black_box(attack) for attack in attacks]
    found = (*(WHITE_BOX if not all(black) else ()), *(BLACK_BOX if any(black) else ()))
    return tuple(dict.fromkeys((*found, _VALIDATE, *((HARDEN,) if found else ()))))
