"""A hook for conftest.py: a table of all changes that were cut short."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print of tests with a property `kills` how many changes each makes, and how many were cut short."""
    reports = [report for group in ("passed", "failed") for report in terminalreporter.stats.get(group, ())]
    kills = [
        (report, value) for report in reports for name, value in report.user_properties if name == "kills"
    ]
    rows = [value for _, value in kills]
    if rows:
        terminalreporter.section(
            "changes to files, sockets, hardware and the API server, each cut short", sep="-"
        )
        terminalreporter.line(f"{'scenario':28}{'fault':20}{'changes':>8}{'faults':>8}")
        for scenario, fault, changes, faults in sorted(rows):
            terminalreporter.line(f"{scenario:28}{fault:20}{changes:>8}{faults:>8}")
        verdict = (
            "nothing lost, nothing left" if all(report.passed for report, _ in kills) else "see the failures"
        )
        terminalreporter.line(f"{'':56}{sum(row[3] for row in rows):>8} in all, {verdict}")
