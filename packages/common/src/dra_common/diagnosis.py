"""Chooses who watches the health of devices, and brings them what the looks at the machine find."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from dra_common.definition import Definition
from dra_common.driver import HealthKnowledge
from dra_common.errors import SettingsError
from dra_common.health import FileSource, HealthMonitor, KernelSource, Policy
from dra_common.model import Severity, TaintEffect
from dra_common.ports import HealthSource, Host, Uevent
from dra_common.settings import HealthSettings, Settings
from dra_common.telemetry import Telemetry

FIRST_WORD_SECONDS = 2.0
"""How long a start waits for sources that have nothing to say yet."""


class Devices:
    """What the driver says of its devices to those who watch them; of one that vanished, what it said last.

    Args:
        knowledge: the driver's; None = it knows nothing.
        settings: what holds for devices of which the driver's policy says nothing.
    """

    def __init__(self, knowledge: HealthKnowledge[Any] | None, settings: HealthSettings) -> None:
        self._knowledge, self._effect = knowledge, settings.effect
        self._threshold = Severity.CRITICAL if settings.ignore_warning else Severity.WARNING
        self._names: Mapping[str, tuple[str, ...]] = {}
        self._policies: Mapping[str, Policy] = {}

    def seen(self, hardware: Mapping[str, Any]) -> None:
        """Take in what a look found, by device name."""
        if (driver := self._knowledge) is None:
            return
        self._names = {**self._names, **{name: driver.names(one) for name, one in hardware.items()}}
        found = {name: self._policy(driver.effect(one, self._effect)) for name, one in hardware.items()}
        self._policies = {**self._policies, **found}

    def names(self, device: str) -> Sequence[str]:
        """Return by which other names a device may be known."""
        return self._names.get(device, ())

    def policy(self, device: str) -> Policy:
        """Return what makes a device unhealthy, and what that does."""
        return self._policies.get(device) or self._policy(self._effect)

    def _policy(self, effect: TaintEffect | None) -> Policy:
        return Policy(self._threshold, effect)


class Diagnosis:
    """The health of the devices of one node, watched as set.

    Raises SettingsError for a source that this driver does not have.
    """

    def __init__(self, definition: Definition, settings: Settings, host: Host, telemetry: Telemetry) -> None:
        health = settings.health
        self._devices = Devices(definition.health, health)
        self._kernel = KernelSource(definition.health, host) if definition.health else None
        self.monitor = HealthMonitor(
            choose(self._known(definition, settings), definition.program, health.sources),
            policy=self._devices.policy,
            names=self._devices.names,
            optional=health.optional,
            telemetry=telemetry,
        )

    def seen(self, hardware: Mapping[str, Any]) -> None:
        """A look at the machine found this, by device name."""
        self._devices.seen(hardware)
        if self._kernel in self.monitor.sources:
            self._kernel.seen(hardware)

    def heard(self, event: Uevent) -> None:
        """The kernel tells this."""
        if self._kernel in self.monitor.sources:
            self._kernel.heard(event)

    def _known(self, definition: Definition, settings: Settings) -> Mapping[str, Callable[[], HealthSource]]:
        """Return how each source that this driver has is made, by name."""
        known: dict[str, Callable[[], HealthSource]] = {
            name: partial(make, settings) for name, make in definition.health_sources.items()
        }
        if (kernel := self._kernel) is not None:
            known[KernelSource.name] = lambda: kernel
        if (path := settings.health.file) is not None:
            known[FileSource.name] = lambda: FileSource(path)
        return known


def choose(
    known: Mapping[str, Callable[[], HealthSource]], program: str, wanted: Sequence[str]
) -> list[HealthSource]:
    """Return the sources that are wanted, all of them if none is named. Raises SettingsError."""
    for name in wanted:
        if name not in known:
            msg = f"--health-sources (HEALTH_SOURCES) names {name!r}, which {program} does not have"
            raise SettingsError(msg, cure=f"it has {', '.join(known) or 'none'}")
    return [make() for name, make in known.items() if not wanted or name in wanted]
