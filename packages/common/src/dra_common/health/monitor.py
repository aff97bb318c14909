"""Gathers what all sources say, makes verdicts of it, and tells of every change once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from dra_common.bell import Bell
from dra_common.health.board import Board
from dra_common.health.verdicts import Policy, absent, findings_of, verdict
from dra_common.model import Attribute, DeviceHealth, HealthState
from dra_common.ports import HealthSource, Report
from dra_common.readiness import ended
from dra_common.telemetry import HEALTH_CHANGES, SILENT, Reason, Telemetry

_log = logging.getLogger(__name__)

_QUIET, _LATEST = 0.05, 0.5
"""Seconds: sources that change again and again are taken in together."""
_EVERY = 10.0
PATIENCE = 300.0
"""Seconds that a source may be away before the cluster is told; Intel's Go driver ended itself then."""
_JOIN_SECONDS = 2.0


@dataclass(slots=True)
class _Absence:
    """A source that cannot tell since ``since`` (monotonic clock), and whether the cluster knows."""

    since: float
    told: bool = False

    def is_long(self) -> bool:
        return time.monotonic() - self.since > PATIENCE


class HealthMonitor:
    """Knows the health of every device; implements :data:`dra_common.inventory.Diagnose` as :meth:`diagnose`.

    Args:
        sources: who watches.
        policy: what makes a device unhealthy, by device name.
        names: device name -> other names by which sources may know it, or what it depends on.
        optional: whether a source that stays away for minutes is no reason to tell the cluster.
        telemetry: is told of every change.
    """

    def __init__(
        self,
        sources: Sequence[HealthSource],
        *,
        policy: Callable[[str], Policy],
        names: Callable[[str], Sequence[str]] = lambda _: (),
        optional: bool = True,
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._optional = optional
        self.board = Board()
        self.sources, self._policy, self._names = tuple(sources), policy, names
        self._telemetry = telemetry
        self._bell = Bell(_QUIET, _LATEST)
        self._heard = threading.Condition()
        self._away: dict[str, _Absence] = {}
        self._told: dict[str, DeviceHealth] = {}
        self._refresh: Callable[[], object] = lambda: None
        self._stopped = False
        self._thread = threading.Thread(target=self._answer, name="health", daemon=True)
        for state in HealthState:
            telemetry.count(HEALTH_CHANGES, 0, state=state.lower())

    # ------------------------------------------------------------------ life

    def watch(self, seconds: float) -> None:
        """Start the sources and give each up to ``seconds`` in all to say its first word.

        What is published first should be what they know: a taint that goes for a moment lets pods onto a bad device.
        """
        for source in self.sources:
            source.start(partial(self._changed, source.name))
        with self._heard:
            self._heard.wait_for(lambda: len(self._reports()) == len(self.sources), seconds)

    def start(self, refresh: Callable[[], object]) -> None:
        """From now on call ``refresh``, in a thread of ours, whenever some source says something else. Called once."""
        self._refresh = refresh
        self._thread.start()

    def stop(self) -> None:
        """End the sources and our thread. May be called again."""
        self._stopped = True
        self._bell.close()
        for source in self.sources:
            source.stop()
        if self._thread.is_alive():
            self._thread.join(_JOIN_SECONDS)

    def why_dead(self) -> str:
        """Return that our thread has ended although nobody stopped it, ``""`` if not."""
        return ended([self._thread], stopped=self._stopped)

    # ------------------------------------------------------------------ verdicts

    def diagnose(self, devices: Sequence[str], absentees: frozenset[str]) -> Mapping[str, DeviceHealth]:
        """Return the health of these devices, and tell of what changed since the last call. Not called in parallel."""
        reports = self._reports()
        healths = {name: absent() if name in absentees else self._verdict(name, reports) for name in devices}
        self._tell_away(reports)
        self._tell(healths)
        self.board.write(healths)
        return healths

    def connected(self) -> Mapping[tuple[str, ...], float]:
        """Return (source,) -> 1 if it can tell now, else 0."""
        reports = self._reports()
        return {
            (one.name,): float(one.name in reports and not reports[one.name].away) for one in self.sources
        }

    def _verdict(self, device: str, reports: Mapping[str, Report]) -> DeviceHealth:
        names = (device, *self._names(device))
        health = verdict(findings_of(reports, names), self._policy(device))
        # Not of what it depends on: a virtual function does not have the memory of its card.
        own = names[:2]
        sizes = (report.memory.get(name) for report in reports.values() for name in own)
        attributes: dict[str, Attribute] = {}
        for report in reports.values():
            for name in own:
                attributes |= report.attributes.get(name, {})
        return replace(health, memory=next(filter(None, sizes), None), attributes=attributes)

    def _reports(self) -> dict[str, Report]:
        """What those say that have something to say yet."""
        said = ((source.name, source.report()) for source in self.sources)
        return {name: report for name, report in said if report is not None}

    # ------------------------------------------------------------------ changes

    def _changed(self, source: str) -> None:
        self._bell.ring(source)
        with self._heard:
            self._heard.notify_all()

    def _answer(self) -> None:
        # Also without a ring: a source that hangs does not ring when what it said is too old.
        while (rung := self._bell.wait(time.monotonic() + _EVERY)) is not None:
            _log.debug("health: %s", rung)
            try:
                self._refresh()
            except Exception:  # noqa: BLE001 - a defect of ours: a dead thread would publish old truth for ever
                _log.exception("health was not taken in; what was known stays")

    def _tell_away(self, reports: Mapping[str, Report]) -> None:
        for name, report in reports.items():
            absence = self._away.get(name)
            if report.away and absence is None:
                self._away[name] = _Absence(time.monotonic())
                _log.warning("health source %s cannot tell, going on without it: %s", name, report.away)
            elif absence and not report.away:
                del self._away[name]
                _log.info("health source %s is back", name)
            elif absence and not (absence.told or self._optional) and absence.is_long():
                absence.told = True
                self._telemetry.event(
                    Reason.HEALTH_SOURCE_AWAY, f"health source {name} is away: {report.away}"
                )

    def _tell(self, healths: Mapping[str, DeviceHealth]) -> None:
        for name, health in healths.items():
            before = self._told.get(name, DeviceHealth())
            if before.state is not health.state:
                self._telemetry.count(HEALTH_CHANGES, state=health.state.lower())
            if HealthState.UNHEALTHY in (before.state, health.state) and _differ(before, health):
                self._tell_one(name, health)
        self._told = dict(healths)

    def _tell_one(self, name: str, health: DeviceHealth) -> None:
        if health.state is HealthState.UNHEALTHY:
            said, reason, level = (
                f"{name} is unhealthy: {health.message}",
                Reason.DEVICE_UNHEALTHY,
                logging.WARNING,
            )
        else:
            said, reason, level = (
                f"{name} is no longer unhealthy, but {health.state.lower()}",
                Reason.DEVICE_RECOVERED,
                logging.INFO,
            )
            if health.state is HealthState.HEALTHY:
                said = f"{name} is healthy again"
        _log.log(level, "%s", said)
        self._telemetry.event(reason, said)


def _differ(before: DeviceHealth, now: DeviceHealth) -> bool:
    """Whether people should hear of it: a message may hold numbers that never stand still."""
    return (before.state, before.reason) != (now.state, now.reason)
