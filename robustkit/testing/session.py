"""From a test to its audit: the state of one pytest run, kept in stashes."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest

from robustkit.errors import RobustkitError
from robustkit.testing.flags import ACCEPT, FAIL_UNTRUSTED, UPDATE_BASELINES, dest
from robustkit.testing.settings import Settings, resolve
from robustkit.testing.stash import AUDITED, AUDITS, RECORDS

if TYPE_CHECKING:
    from robustkit.testing.assertions import RobustAudit
    from robustkit.testing.audits import Audited, Audits


def audit_of(
    item: pytest.Item,
    *,
    target: Any = None,
    samples: Any = None,
    threats: tuple[str, ...] = (),
) -> "RobustAudit":
    """The audit that a test's settings describe; the test fails in words where there is none.

    `threats`, where given, are the audited ones whatever the settings say.
    """
    __tracebackhide__ = True
    config, said = item.config, ""
    try:
        marks = [mark.kwargs for mark in item.iter_markers("robust")]
        settings = resolve(config, marks=marks, hook=item.ihook)
        settings = replace(settings, threat=threats) if threats else settings
        if target is None:
            target = config.hook.pytest_robustkit_load_model(config=config, settings=settings)
        audited = audits_of(config).get(settings, target=target, samples=samples)
    except RobustkitError as error:
        said = str(error)
    if said:
        pytest.fail(f"no audit: {said}", pytrace=False)
    return _asserting(item, settings, audited)


def audits_of(config: pytest.Config) -> "Audits":
    """The audits of this run."""
    from robustkit.testing.audits import Audits

    if AUDITS not in config.stash:
        config.stash[AUDITS] = Audits.of(config)
    return config.stash[AUDITS]


def _asserting(item: pytest.Item, settings: Settings, audited: "Audited") -> "RobustAudit":
    """The audit with what its assertions need to know of the run."""
    from robustkit.testing.assertions import Policy, RobustAudit
    from robustkit.testing.judging import Judgement

    config = item.config
    records = item.stash.setdefault(RECORDS, [])
    item.stash.setdefault(AUDITED, []).append(audited)

    def note(judgement: Judgement) -> None:
        """Keep a judgement, and hand it to whoever listens."""
        record = {"test": item.nodeid, **asdict(judgement), **_facts(audited, judgement.threat)}
        config.hook.pytest_robustkit_update_record(config=config, record=record)
        records.append(record)

    flag = {one.dest: config.getoption(dest(one)) for one in (UPDATE_BASELINES, ACCEPT)}
    untrusted = config.getoption(dest(FAIL_UNTRUSTED)) or config.getini(FAIL_UNTRUSTED.ini_name)
    policy = Policy(
        gate=settings.gate,
        undecided=settings.undecided,
        fail_untrusted=bool(untrusted),
        update=bool(flag["update_baselines"]),
        accept=bool(flag["accept"]),
        home=item.path.parent,
    )
    return RobustAudit(audited.log, audited.folder, policy=policy, note=note)


def _facts(audited: "Audited", threat: str) -> dict[str, Any]:
    """What every record says of the audit that it is about; accuracies of one threat only."""
    log = audited.log
    facts: dict[str, Any] = {
        "model": log.model.name,
        "trusted": log.trusted,
        "report": str(audited.folder),
        "fresh": audited.fresh,
        "seconds": log.seconds,
    }
    for one in log.threats:
        if one.threat == threat:
            facts |= {
                "samples": one.samples,
                "clean_accuracy": one.clean_accuracy,
                "robust_accuracy": one.robust_accuracy,
                "interval": list(one.interval),
            }
    return facts
