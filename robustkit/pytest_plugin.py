"""The pytest plugin: robustness thresholds that are tests.

    @pytest.mark.robust(threat="linf:8/255", suite="quick", samples=1000)
    def test_linf(robust_audit):
        robust_audit.assert_robust(at_least=0.45)

This module is imported by every pytest run where robustkit is installed, so it imports nothing
that costs time: all else lies in `robustkit.testing` and comes when a test asks for an audit.
"""

import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from robustkit.testing import flags
from robustkit.testing.stash import AUDITED, RECORDS

if TYPE_CHECKING:
    from robustkit.testing.assertions import RobustAudit

MARKER = (
    "robust(threat, suite, samples, seed, budget, model, arch, data, ...): how the fixture "
    "robust_audit audits; the names are those of the --robust-* flags."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the flags and their ini twins."""
    flags.mount(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Add our own hooks."""
    from robustkit.testing import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and what gathers the gates' records."""
    config.addinivalue_line("markers", MARKER)
    config.stash[RECORDS] = []
    config.pluginmanager.register(_Reports(config.stash[RECORDS]), "robustkit-reports")


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say what is configured, if anything is."""
    shown = []
    for one in (flags.MODEL, flags.AT_LEAST, flags.BASELINE):
        value = config.getoption(flags.dest(one)) or config.getini(one.ini_name)
        if value:
            shown.append(f"{one.name} {value if isinstance(value, str) else ', '.join(value)}")
    return f"robustkit: {'; '.join(shown)}" if shown else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add a test for every gate that needs no code; first, so that -k and -m see them."""
    hooked = config.hook.pytest_robustkit_thresholds.get_hookimpls()
    asked = (flags.AT_LEAST, flags.BASELINE)
    if hooked or any(config.getoption(flags.dest(a)) or config.getini(a.ini_name) for a in asked):
        from robustkit.errors import RobustkitError
        from robustkit.testing.gates import collect

        try:
            items += collect(session)
        except RobustkitError as error:
            raise pytest.UsageError(str(error)) from None
    if config.getoption("dist", "no") == "loadgroup":
        _group(items)


def _group(items: list[pytest.Item]) -> None:
    """One xdist group a model: workers would only wait for one another's audit."""
    for item in items:
        mark = item.get_closest_marker("robust")
        if mark and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(f"robustkit {mark.kwargs.get('model', '')}"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse a marker that cannot be meant, before anything is loaded."""
    marks = list(item.iter_markers("robust"))
    if not marks:
        return
    from robustkit.testing.settings import slip

    said = "\n".join(filter(None, (slip(mark, item.config.rootpath) for mark in marks)))
    if said:
        pytest.fail(said, pytrace=False)


@pytest.fixture(scope="session")
def robust_target() -> Any:
    """The model to audit: a Classifier, a module or a name; None leaves it to the settings."""
    return None


@pytest.fixture(scope="session")
def robust_samples() -> Any:
    """The data to audit on: Samples, a pair (x, y) or a name; None leaves it to the settings."""
    return None


@pytest.fixture
def robust_audit(
    request: pytest.FixtureRequest, robust_target: Any, robust_samples: Any
) -> "RobustAudit":
    """The audit that the marker `robust` describes, run now or read from the cache."""
    __tracebackhide__ = True
    from robustkit.testing.session import audit_of

    return audit_of(request.node, target=robust_target, samples=robust_samples)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Hang the records of a test's gates on its report; they travel with it from a worker."""
    report = yield
    records = item.stash.get(RECORDS, None)
    if records and call.when == "call":
        from robustkit.testing import summary

        # An attribute of the report is what xdist sends along.
        vars(report)["robustkit"] = records
        # JUnit reads the properties from the report of the teardown, which is made from the item.
        item.user_properties += summary.properties(records)
        html = item.config.pluginmanager.getplugin("html")
        if html and report.failed:
            folders = {audited.folder: None for audited in item.stash[AUDITED]}
            extras = getattr(report, "extras", [])
            vars(report)["extras"] = [*extras, *summary.html_extras(folders)]
    return report


class _Reports:
    """Gathers the records of all reports; with xdist they come from the workers."""

    def __init__(self, records: list[dict[str, Any]]) -> None:
        self.records = records

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a report brings."""
        self.records += getattr(report, "robustkit", [])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """One line a gate."""
    records = config.stash.get(RECORDS, [])
    if records:
        from robustkit.testing import summary

        terminalreporter.section(summary.title(records))
        for line in summary.table(records):
            terminalreporter.line(line)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Add the gates to the summary of a GitHub job."""
    records = session.config.stash.get(RECORDS, [])
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if records and path and not hasattr(session.config, "workerinput"):
        from robustkit.testing import summary

        with Path(path).open("a", encoding="utf-8") as file:
            file.write(summary.markdown(records))
