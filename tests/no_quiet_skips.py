"""A skipped test proves nothing: say so loudly, and under CI=true fail the run (a pytest plug-in of ours)."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

ROOT_ALONE = "only root"
"""A skip whose reason begins so proves nothing missing where the run is an ordinary user's: root's run has the test."""


def _missing(reports: Sequence[object]) -> list[object]:
    return [r for r in reports if os.getuid() == 0 or not _reason(r).startswith(ROOT_ALONE)]


def _reason(report: object) -> str:
    longrepr = getattr(report, "longrepr", "")
    return (longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)).removeprefix("Skipped: ")


def _is_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Turn a run with skipped tests red where nothing may be missing."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if (
        _is_ci()
        and reporter is not None
        and _missing(reporter.stats.get("skipped", []))
        and exitstatus == pytest.ExitCode.OK
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what did not run, and why."""
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        return
    verdict = "a failure, because CI=true" if _is_ci() and _missing(skipped) else "not proven by this run"
    terminalreporter.section(f"{len(skipped)} SKIPPED: {verdict}", sep="!", red=True, bold=True)
    for report in skipped:
        terminalreporter.line(f"{report.nodeid}: {_reason(report)}", red=True)
