"""Words and numbers: what a sentence must hold, and what it must not."""

import pytest

from robustkit.report import threats
from robustkit.report.numbers import percent, span
from robustkit.report.text import plain, xml_text
from robustkit.report.verdict import headline, not_tested, trust, trust_words
from tests.report.build_log import HOSTILE, build_log, untrusted


def test_a_headline_has_number_samples_interval_and_threat():
    log = build_log(("linf:0.1",))
    low, high = log.interval
    assert headline(log) == (
        f"Of 500 pictures {percent(log.robust_accuracy)} are still classified correctly under "
        f"every perturbation that was found within linf 0.1 (95 % interval {span((low, high))})."
    )


def test_the_headline_is_that_of_the_worst_threat():
    assert "linf 0.2" in headline(build_log())


def test_an_untrusted_headline_says_so_and_has_no_number():
    log = untrusted(build_log(("linf:0.1",)))
    text = headline(log)
    assert text.startswith("UNTRUSTED")
    assert "RK-ZERO-GRADIENT" in text
    assert percent(log.robust_accuracy) not in text
    assert trust(log) == "untrusted"


def test_an_unfinished_run_says_so():
    log = build_log(("linf:0.1",))
    threat = log.threats[0].model_copy(update={"samples": 120})
    part = log.model_copy(update={"status": "partial", "threats": (threat,)})
    assert headline(part).startswith("PARTIAL RUN, 120 of 500 samples: Of 120 pictures")
    assert trust(part) == "provisional"
    assert trust_words(part).startswith("The run is partial")


def test_no_samples_give_no_number():
    log = build_log(("linf:0.1",))
    threat = log.threats[0].model_copy(update={"samples": 0})
    assert "nothing is known" in headline(log.model_copy(update={"threats": (threat,)}))


def test_a_finding_of_weight_makes_a_number_provisional():
    log = build_log(("linf:0.1",))
    assert trust(log) == "trusted"
    grave = log.findings[0].model_copy(update={"severity": "medium"})
    assert trust(log.model_copy(update={"findings": (grave,)})) == "provisional"


def test_what_was_not_tested_follows_from_what_was():
    both = " ".join(not_tested(build_log(("linf:0.1", "l2:1"))))
    assert "bounded in l1 and l0" in both
    assert "black-box" not in both
    log = build_log(("l1:3",))
    white = tuple(one for one in log.threats[0].attacks if one.name != "square")
    threat = log.threats[0].model_copy(update={"attacks": white})
    alone = " ".join(not_tested(log.model_copy(update={"threats": (threat,)})))
    assert "bounded in linf, l2 and l0" in alone
    assert "no black-box attack was run" in alone


@pytest.mark.parametrize(
    ("fraction", "shown"),
    [
        (0.0, "0 %"), (1.0, "100 %"), (0.99951, ">99.9 %"), (0.00049, "<0.1 %"),
        (0.0005, "0.1 %"), (0.125, "12.5 %"), (0.9994, "99.9 %"), (-0.01, "-1.0 %"),
    ],
)  # fmt: skip
def test_no_number_is_rounded_to_all_or_nothing(fraction, shown):
    assert percent(fraction) == shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("linf:8/255", "8 of 255 levels"),
        ("linf:0.05", "12.8 of 255 levels"),
        ("linf:1", "all 255 levels"),
        ("l2:0.5", "length 0.5"),
        ("l1:12", "by 12 in total"),
        ("l0:10", "at most 10 pixels"),
        ("patch", "bounded by patch"),
        ("linf:1/0", "bounded by linf:1/0"),
        ("linf:nan", "bounded by linf:nan"),
    ],
)
def test_a_threat_is_put_in_words(text, said):
    assert said in threats.words(text)


def test_foreign_text_is_tamed():
    assert plain(HOSTILE).isprintable() or "\ufffe" in plain(HOSTILE)
    assert "\n" not in plain(HOSTILE)
    assert "\x1b" not in plain(HOSTILE)
    assert "\u202e" not in plain(HOSTILE)
    assert "\ufffe" not in xml_text(HOSTILE)
    assert "\x00" not in xml_text(HOSTILE)
