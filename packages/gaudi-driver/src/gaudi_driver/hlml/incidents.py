"""Which events of the management library still count, and until when.

==================  ========  ================================================================================
event               severity  counts
==================  ========  ================================================================================
critical error      CRITICAL  until the device proves itself: the kernel has counted a hard reset since, or has
                              bound its driver anew; and since then it has said Operational, and no event came,
                              for 30 seconds
ECC, double bit     WARNING   the same, but for 300 seconds at most
memory (DRAM)       WARNING   the same
==================  ========  ================================================================================

A critical error is what the device's firmware gives up for. Time alone heals nothing: a device that hangs is silent,
too. Memory errors are warnings: what is serious among them is followed by a critical error, or by a reset of the
kernel's own, while rows of memory that failed are replaced by good ones.

What the kernel counts is read at most a second before an event is waited for. So a reset that is over by the time that
the library tells of its cause is seen all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dra_common.model import Finding, Severity

from gaudi_driver.hlml.library import CRITICAL, DRAM, ECC_DOUBLE
from gaudi_driver.hlml.machine import Resets

PROOF: Final = 30.0
"""Seconds for which a device has to work after its reset."""
HOLD: Final = 300.0
"""Seconds for which a warning is told; as for errors that the kernel counts (``dra_common.health.kernel``)."""

EVENTS: Final = CRITICAL | ECC_DOUBLE | DRAM
"""What is listened to. Clock changes and memory errors that were corrected are daily life."""

_NEXT = "it counts until the kernel has reset the device, which writing 1 to its hard_reset in sysfs asks for"


@dataclass(frozen=True, slots=True)
class _Kind:
    bit: int
    what: str
    severity: Severity
    message: str


_KINDS: Final = (
    # Intel's Go driver gives its taint this value.
    _Kind(CRITICAL, "CriticalError", Severity.CRITICAL, f"HLML reported a critical error; {_NEXT}"),
    _Kind(
        ECC_DOUBLE, "ecc-double-bit", Severity.WARNING, "HLML reported memory errors that cannot be corrected"
    ),
    _Kind(DRAM, "dram", Severity.WARNING, "HLML reported an error of the device's memory"),
)


@dataclass(slots=True)
class _Incident:
    """An event that counts.

    Args:
        finding: what is said of it.
        at: when it came.
        count: the kernel's counter before; None = not known.
        gone: whether the device was seen without its driver, so that the counter of now is another one.
        since: since when the device works after a reset; None = it does not.
    """

    finding: Finding
    at: float
    count: int | None
    gone: bool
    since: float | None = None

    def observe(self, resets: Resets, address: str, operational: Callable[[str], bool], now: float) -> None:
        self.gone = self.gone or address not in resets
        count = resets.get(address)
        was_reset = count is not None and (self.gone or (self.count is not None and count != self.count))
        if not (was_reset and operational(address)):
            self.since = None
        elif self.since is None:
            self.since = now

    def counts(self, now: float, proof: float, hold: float) -> bool:
        if self.finding.severity < Severity.CRITICAL and now - self.at >= hold:
            return False
        return self.since is None or now - self.since < proof


class Incidents:
    """Remembers events by device; times are those of a monotonic clock, in seconds.

    Args:
        proof: how long a device has to work after its reset.
        hold: how long a warning is told.
    """

    def __init__(self, proof: float = PROOF, hold: float = HOLD) -> None:
        self._proof, self._hold = proof, hold
        self._resets: Resets = {}
        self._known: dict[str, dict[str, _Incident]] = {}

    def take(self, address: str, mask: int, where: str, now: float) -> None:
        """An event came of a device; ``where`` tells a person which one it is. Events of other bits are nothing."""
        for kind in _KINDS:
            if mask & kind.bit:
                message = f"{kind.message} ({where})" if where else kind.message
                finding = Finding(kind.what, kind.severity, message)
                gone = address not in self._resets
                known = self._known.setdefault(address, {})
                known[kind.what] = _Incident(finding, now, self._resets.get(address), gone)

    def observe(self, resets: Resets, operational: Callable[[str], bool], now: float) -> None:
        """The kernel shows this now."""
        self._resets = resets
        for address, known in list(self._known.items()):
            for what, incident in list(known.items()):
                incident.observe(resets, address, operational, now)
                if not incident.counts(now, self._proof, self._hold):
                    del known[what]
            if not known:
                del self._known[address]

    def findings(self) -> dict[str, tuple[Finding, ...]]:
        """Return what counts, by PCI address."""
        return {
            address: tuple(incident.finding for incident in known.values())
            for address, known in self._known.items()
        }
