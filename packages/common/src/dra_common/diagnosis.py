"""Chooses who watches the health of devices, and brings them what the looks at the machine find."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from dra_common.definition import Definition
from dra_common.driver import HealthKnowledge
from dra_common.errors import SettingsError
from dra_common.health import FileSource, HealthMonitor, KernelSource, Policy
from dra_common.model import Severity
from dra_common.ports import HealthSource, Host, Uevent
from dra_common.settings import HealthSettings
from dra_common.telemetry import Telemetry

FIRST_WORD_SECONDS = 2.0
"""How long a start waits for sources that have nothing to say yet."""


class Names:
    """By which other names a device may be known; those of one that vanished stay."""

    def __init__(self, knowledge: HealthKnowledge[Any] | None) -> None:
        self._knowledge = knowledge
        self._names: Mapping[str, tuple[str, ...]] = {}

    def seen(self, hardware: Mapping[str, Any]) -> None:
        """Take in what a look found, by device name."""
        if self._knowledge is not None:
            found = {name: self._knowledge.names(one) for name, one in hardware.items()}
            self._names = {**self._names, **found}

    def __call__(self, device: str) -> Sequence[str]:
        """Return the other names of a device."""
        return self._names.get(device, ())


class Diagnosis:
    """The health of the devices of one node, watched as set.

    Raises SettingsError for a source that this driver does not have.
    """

    def __init__(
        self, definition: Definition, settings: HealthSettings, host: Host, telemetry: Telemetry
    ) -> None:
        self._names = Names(definition.health)
        self._kernel = KernelSource(definition.health, host) if definition.health else None
        policy = Policy(Severity.CRITICAL if settings.ignore_warning else Severity.WARNING, settings.effect)
        self.monitor = HealthMonitor(
            choose(self._known(definition, settings), definition.program, settings.sources),
            policy=lambda _device: policy,
            names=self._names,
            telemetry=telemetry,
        )

    def seen(self, hardware: Mapping[str, Any]) -> None:
        """A look at the machine found this, by device name."""
        self._names.seen(hardware)
        if self._kernel in self.monitor.sources:
            self._kernel.seen(hardware)

    def heard(self, event: Uevent) -> None:
        """The kernel tells this."""
        if self._kernel in self.monitor.sources:
            self._kernel.heard(event)

    def _known(
        self, definition: Definition, settings: HealthSettings
    ) -> Mapping[str, Callable[[], HealthSource]]:
        """Return how each source that this driver has is made, by name."""
        known: dict[str, Callable[[], HealthSource]] = {
            name: partial(make, settings) for name, make in definition.health_sources.items()
        }
        if (kernel := self._kernel) is not None:
            known[KernelSource.name] = lambda: kernel
        if (path := settings.file) is not None:
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
