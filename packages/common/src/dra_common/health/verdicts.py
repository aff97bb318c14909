"""From what sources say to one verdict for each device; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dra_common.model import DeviceHealth, Finding, HealthState, Severity, TaintEffect, taint_value
from dra_common.ports import Report

LONGEST_MESSAGE = 1024
"""Bytes of UTF-8 that a kubelet takes of a message (KEP-4680)."""

ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Policy:
    """What makes a device unhealthy, and what that does.

    Args:
        threshold: findings from this severity on make a device unhealthy.
        effect: of the taint of an unhealthy device; None = it gets no taint.
    """

    threshold: Severity = Severity.CRITICAL
    effect: TaintEffect | None = TaintEffect.NO_EXECUTE


def findings_of(reports: Mapping[str, Report], names: Sequence[str]) -> tuple[Finding, ...]:
    """Return what all sources say of a device, which they may call by any of ``names``.

    Of a source that cannot tell now, only what was bad stays: silence is no recovery, and no proof of health either.
    """
    return tuple(
        finding
        for report in reports.values()
        for name in names
        for finding in report.findings.get(name, ())
        if not report.away or finding.severity >= Severity.WARNING
    )


def verdict(findings: Sequence[Finding], policy: Policy) -> DeviceHealth:
    """Make one verdict of all findings; without any that knows, it is unknown."""
    worst = max(findings, key=lambda finding: finding.severity, default=None)
    if worst is None or worst.severity is Severity.UNKNOWN:
        return DeviceHealth(message=_message(findings))
    if worst.severity < policy.threshold:
        return DeviceHealth(HealthState.HEALTHY, message=_message(findings))
    reason = taint_value(worst.what) or worst.severity.name.lower()
    return DeviceHealth(HealthState.UNHEALTHY, reason, _message(findings), policy.effect)


def absent() -> DeviceHealth:
    """Return the verdict of a device that the latest look did not find; its taint is the inventory's."""
    return DeviceHealth(
        HealthState.UNHEALTHY, ABSENT, "the device was not found by the latest look at the machine"
    )


def _message(findings: Iterable[Finding]) -> str:
    """Tell what is not right, the worst first."""
    told = sorted((one for one in findings if one.severity is not Severity.OK), key=lambda one: -one.severity)
    return shortened("; ".join(dict.fromkeys(_sentences(told))))


def _sentences(findings: Iterable[Finding]) -> Iterator[str]:
    for finding in findings:
        said = " ".join(finding.message.split())
        yield f"{finding.what} ({finding.severity.name.lower()})" + (f": {said}" if said else "")


def shortened(text: str) -> str:
    """Return what fits into a message, cut between two characters."""
    data = text.encode()
    if len(data) <= LONGEST_MESSAGE:
        return text
    return data[: LONGEST_MESSAGE - 3].decode(errors="ignore") + "…"
