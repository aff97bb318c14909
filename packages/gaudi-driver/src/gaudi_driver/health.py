"""What the kernel shows of a Gaudi's health: the attribute ``status`` (ABI document sysfs-driver-habanalabs).

A Gaudi2 resets itself whenever the last process closes it, and a claim's start or end may do so: a reset is no illness
while it does not last. PCI errors and events are read by the core.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dra_common.errors import HostNotFound
from dra_common.model import Finding, Severity, TaintEffect
from dra_common.ports import Host

from gaudi_driver.device import DRIVER, Gaudi
from gaudi_driver.policy import GaudiDevicePolicy

LONGEST_RESET = 120.0
"""Seconds after which a device that is still in reset, or in creation, is not expected to come back by itself."""

_FINE = "operational"
_PASSING = frozenset({"in reset", "in reset after device release", "in device creation"})
_BROKEN: Mapping[str, str] = {
    "disabled": "its kernel driver has switched it off, since it does not work",
    "needs reset": "it has hung and its kernel driver waits for somebody to reset it (hard_reset in sysfs)",
}


@dataclass(slots=True)
class GaudiHealth:
    """:class:`dra_common.driver.HealthKnowledge` for Gaudis.

    Args:
        policy: what an operator decides for one Gaudi, now.
        clock: monotonic seconds.
    """

    policy: Callable[[Gaudi], GaudiDevicePolicy] = field(default=lambda _: GaudiDevicePolicy())
    clock: Callable[[], float] = time.monotonic
    _since: dict[str, float] = field(default_factory=dict)

    def effect(self, hardware: Gaudi, default: TaintEffect | None) -> TaintEffect | None:
        """Return the effect of the taint of this Gaudi when it is unhealthy; None = no taint."""
        return self.policy(hardware).health.effect_or(default)

    def names(self, hardware: Gaudi) -> tuple[str, ...]:
        """Return its PCI address."""
        return (hardware.bdf,)

    def signs(self, hardware: Gaudi, host: Host) -> tuple[Finding, ...]:
        """Return what its kernel driver says of it; nothing without that. Raises HostError if it cannot be told."""
        if hardware.driver != DRIVER or not hardware.attributes:
            return ()
        try:
            status = host.sysfs.read(f"{hardware.attributes}/status").strip()
        except HostNotFound:
            return ()
        state = status.lower()
        if state not in _PASSING:
            self._since.pop(hardware.bdf, None)
        if state == _FINE:
            return (Finding("status", Severity.OK),)
        if state in _PASSING:
            return (self._passing(hardware, status),)
        if state in _BROKEN:
            return (Finding("status", Severity.CRITICAL, f"{status}: {_BROKEN[state]}"),)
        return (Finding("status", Severity.WARNING, f"its kernel driver says {status[:80]!r}"),)

    def _passing(self, gaudi: Gaudi, status: str) -> Finding:
        now = self.clock()
        lasts = now - self._since.setdefault(gaudi.bdf, now)
        if lasts > LONGEST_RESET:
            message = f"{status} for more than {LONGEST_RESET:.0f} s: see the kernel log"
            return Finding("status", Severity.CRITICAL, message)
        return Finding("status", Severity.OK, status)
