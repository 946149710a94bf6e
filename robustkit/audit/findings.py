"""What can be wrong with a robustness number: one row an id, explained by `robustkit explain`."""

from typing import Any, NamedTuple

from robustkit.records import Finding, Severity


class FindingInfo(NamedTuple):
    """A kind of finding: its title, what it means, what to do about it, and who described it."""

    title: str
    meaning: str
    fix: str
    severity: Severity
    references: tuple[str, ...] = ()


INDICATORS = "Pintor et al. 2022, arXiv 2106.09947"
OBFUSCATED = "Athalye et al. 2018, arXiv 1802.00420"
EVALUATING = "Carlini et al. 2019, arXiv 1902.06705"
AUTOATTACK = "Croce & Hein 2020, arXiv 2003.01690"

FINDINGS: dict[str, FindingInfo] = {
    "RK-NONFINITE": FindingInfo(
        "Logits that are not finite",
        "The model answered NaN or infinity for a picture. Such an answer counts as fooled: "
        "nothing can be said of what a system does with it.",
        "Find the layer that overflows; mixed precision and division by a small norm are common.",
        "high",
    ),
    "RK-SOFTMAX": FindingInfo(
        "Probabilities instead of logits",
        "The model's outputs are non-negative and sum to one. Losses on probabilities have "
        "gradients that vanish for confident predictions, and attacks that need them fail.",
        "Let the model return what goes into softmax.",
        "medium",
        (AUTOATTACK,),
    ),
    "RK-TRAIN-MODE": FindingInfo(
        "Modules that stay in training mode",
        "Some modules are in training mode although evaluation mode was set, so that dropout or "
        "batch statistics make the answer depend on chance or on the rest of the batch.",
        "Call the functional layers with training=self.training.",
        "high",
        (EVALUATING,),
    ),
    "RK-RANDOM": FindingInfo(
        "The model draws random numbers",
        "The same picture gets different logits from call to call. A gradient of one draw misleads "
        "an attack, and one lucky draw is no success.",
        "Attack the expectation (EOT): pgd:eot=20, or the suite autoattack-rand.",
        "medium",
        (OBFUSCATED, AUTOATTACK),
    ),
    "RK-DYNAMIC": FindingInfo(
        "The model optimises while it answers",
        "A forward pass computes gradients of its own: a defense that purifies or adapts its input "
        "at inference. Plain gradients through it mislead, and its cost hides in every query.",
        "Attack with an adaptive attack made for that loop; until then believe the black-box ones.",
        "medium",
        (AUTOATTACK,),
    ),
    "RK-BATCH": FindingInfo(
        "The answer depends on the batch",
        "A picture gets other logits alone than among others. A success in a batch may be none "
        "alone, and the number depends on the batch size.",
        "Look for statistics taken over the batch in evaluation mode.",
        "medium",
    ),
    "RK-CHANCE": FindingInfo(
        "Clean accuracy near chance",
        "The model does hardly better than guessing on unattacked pictures: most often the "
        "preprocessing is missing, done twice, or the labels are numbered differently.",
        "Check --preprocess, the channel order and the class numbers.",
        "high",
    ),
    "RK-ZERO-GRADIENT": FindingInfo(
        "Gradients that are zero",
        "For some pictures even the difference of logits has a gradient of exactly zero, so no "
        "gradient attack can move: rounding, argmax or a detached tensor lies on the way.",
        "Give the stage a differentiable stand-in (BPDA) and attack through it; until then believe "
        "the black-box attacks.",
        "high",
        (INDICATORS, OBFUSCATED),
    ),
    "RK-SATURATED": FindingInfo(
        "Cross-entropy saturates",
        "Softmax rounds to one, so that cross-entropy has no gradient although the logits do. "
        "Attacks of other tools fail silently here; the attacks of this audit use log odds and "
        "margins, which do not vanish.",
        "Scale the logits down; believe no number that came from cross-entropy alone.",
        "low",
        (OBFUSCATED, "Carlini & Wagner 2017, arXiv 1608.04644"),
    ),
    "RK-MOVED": FindingInfo(
        "A stronger attack moved the number",
        "On some of the pictures that had survived, a stronger attack succeeded. It was then run "
        "on all of them, and the number printed includes it.",
        "Use the suite standard or autoattack; see the attack that moved the number.",
        "low",
        (INDICATORS,),
    ),
    "RK-UNBOUNDED": FindingInfo(
        "An unlimited attacker still fails",
        "An attacker who may replace the whole picture must always succeed. Where he does not, the "
        "attack is hindered and not the model robust.",
        "Look for masked gradients: other losses, BPDA stand-ins, black-box attacks.",
        "high",
        (INDICATORS, OBFUSCATED),
    ),
    "RK-BLACK-BOX": FindingInfo(
        "A black box did what gradients could not",
        "An attack that only sees scores broke samples that gradient attacks had left: a sign "
        "that the gradients mislead. Where it takes a tenth of all, the number is void.",
        "Raise the queries, and look for masked gradients.",
        "medium",
        (EVALUATING, AUTOATTACK),
    ),
    "RK-ONE-STEP": FindingInfo(
        "One step is stronger than many",
        "FGSM broke samples that the iterative attack did not: the loss is rough around the data, "
        "as after catastrophic overfitting, or the steps do not fit.",
        "More steps, smaller steps, more restarts; a loss that does not vanish.",
        "medium",
        (EVALUATING,),
    ),
    "RK-LOST-CLAIMS": FindingInfo(
        "Successes that the referee did not confirm",
        "An attack claimed successes that a fresh forward in evaluation mode does not show. They "
        "were not counted.",
        "The model is random, depends on the batch, or lies within rounding of the border.",
        "low",
    ),
    "RK-EIGHT-BIT": FindingInfo(
        "Successes lost in 8-bit pixels",
        "Some successes vanish when the picture is stored with 8 bits a pixel. They count, but a "
        "camera or a file would undo them.",
        "Nothing to mend; read the number as one for float pixels.",
        "info",
    ),
    "RK-FEW-CLASSES": FindingInfo(
        "Too few classes for the DLR loss",
        "The difference of logits ratio needs three classes (targeted: four); the margin loss took "
        "its place.",
        "Nothing to mend.",
        "info",
        (AUTOATTACK,),
    ),
    "RK-PARTIAL": FindingInfo(
        "The audit did not get to the end",
        "The budget ran out. Only samples that met the whole cascade are counted.",
        "Run the same command with --resume, or with a larger --budget.",
        "medium",
    ),
    "RK-QUICK": FindingInfo(
        "A quick suite bounds loosely",
        "Robust accuracy is an upper bound, and a quick suite leaves it higher than a strong one.",
        "Use --suite standard or autoattack before you rely on the number.",
        "info",
    ),
    "RK-UNSTABLE": FindingInfo(
        "The loss is rough",
        "A little uniform noise changes the margin by more than a tenth: the gradient at a point "
        "says little about its neighbourhood, and attacks that follow it stumble.",
        "Average the gradient over noise: pgd:eot=20,sigma=0.03.",
        "low",
        (INDICATORS,),
    ),
    "RK-EPS": FindingInfo(
        "A larger budget fools fewer",
        "Whatever fools within eps is allowed within 2 eps too. An attack that fails there on "
        "pictures it has fooled before is hindered by the model, or badly tuned.",
        "Look for masked gradients; use attacks that choose their own step size.",
        "medium",
        (EVALUATING,),
    ),
    "RK-STEPS": FindingInfo(
        "More steps fool fewer",
        "An attack with many steps failed on pictures that fell to fewer steps: the optimisation "
        "does not converge to what it should find.",
        "Look for masked gradients or randomness; use the margin loss and restarts.",
        "medium",
        (EVALUATING, INDICATORS),
    ),
    "RK-TRANSFER": FindingInfo(
        "Another model's examples fool it better",
        "Pictures made against the surrogate fooled the model where attacks on itself had failed. "
        "Its own gradients mislead.",
        "Look for masked gradients; attack through a differentiable stand-in (BPDA).",
        "high",
        (EVALUATING, OBFUSCATED),
    ),
    "RK-OBLIVIOUS": FindingInfo(
        "The defense lives on not being known",
        "Attacks that know the defense succeed on many pictures where those made on the model "
        "without it fail. Whoever attacks will know, or find out; the number counts them.",
        "Quote the number of this audit only. Train the model, or a denoiser through it, against "
        "the attacks that broke it.",
        "medium",
        (OBFUSCATED, "Tramer et al. 2020, arXiv 2002.08347"),
    ),
    "RK-RETRY": FindingInfo(
        "Who may try again succeeds",
        "The model draws random numbers, and the number counts what most of its answers say. Some "
        "attacked pictures that resist by that rule are answered wrongly now and then: an attacker "
        "who may send a picture several times needs no more.",
        "Limit how often one may ask, or average the model's answers when it is deployed.",
        "info",
        ("DiffBreak, arXiv 2411.16598",),
    ),
    "RK-IMPLAUSIBLE": FindingInfo(
        "A detector better than what is known to be possible",
        "A detector that is robust within a budget implies a classifier, too slow to be used, that "
        "is as robust within half of it. Such a one would be better than any that is known for "
        "this data: the attacks on the detector were more likely too weak.",
        "Attack the detector by hand, with what is known of its score; train and test sets must "
        "not have been mixed up.",
        "medium",
        ("Tramer 2022, arXiv 2107.11630",),
    ),
    "RK-PREPROCESS": FindingInfo(
        "No preprocessing was given",
        "The checkpoint does not say how its pixels are normalised, and nobody else did.",
        "Give --preprocess, or say --preprocess none.",
        "info",
    ),
}


def finding(
    id: str,  # noqa: A002 - the record's own name
    message: str,
    *,
    threat: str = "",
    severity: Severity | None = None,
    **evidence: Any,
) -> Finding:
    """A finding of a known kind; `severity` overrules the kind's own."""
    kind = FINDINGS[id]
    return Finding(
        id=id,
        severity=severity or kind.severity,
        message=message,
        fix=kind.fix,
        threat=threat,
        evidence=evidence,
    )
