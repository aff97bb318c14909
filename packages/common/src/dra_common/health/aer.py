"""PCIe errors of a function, by the counters of the kernel (Documentation/ABI/testing/sysfs-bus-pci-devices-aer).

They count from when the device was added, so only what is added to them while we watch says something about now. What
the hardware corrected is not counted here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from dra_common.errors import HostError
from dra_common.model import Finding, Severity
from dra_common.ports import Host

_TOTAL = re.compile(r"^TOTAL_ERR_[A-Z]+ ([0-9]{1,18})\s*\Z", re.ASCII | re.MULTILINE)

FATAL, NONFATAL = "pcie-fatal", "pcie-nonfatal"


@dataclass(frozen=True, slots=True)
class Errors:
    """What is known of one function.

    Args:
        fatal: errors counted so far, None before the first look.
        nonfatal: the same of those that are not fatal.
        broken: fatal errors since the function was last known to work; they stay until it is reset or bound again.
        until: until when an error that was not fatal is told (monotonic clock).
    """

    fatal: int | None = None
    nonfatal: int | None = None
    broken: int = 0
    until: float = 0.0


def counted(host: Host, address: str, severity: str) -> int | None:
    """Return how many errors of a severity a function has reported; None if it has no such counter.

    Of the lines the names are new with every kernel, but for the last, which has the sum.
    """
    try:
        text = host.sysfs.read(f"bus/pci/devices/{address}/aer_dev_{severity}")
    except HostError:
        return None
    found = _TOTAL.search(text)
    return int(found[1]) if found else None


def look(before: Errors, fatal: int | None, nonfatal: int | None, *, now: float, hold: float) -> Errors:
    """Return what is known after reading both counters; pure. Counters that fell are those of a new device."""
    after = replace(before, fatal=fatal, nonfatal=nonfatal)
    if _rise(before.fatal, fatal) < 0 or _rise(before.nonfatal, nonfatal) < 0:
        return Errors(fatal, nonfatal)
    if _rise(before.nonfatal, nonfatal) > 0:
        after = replace(after, until=now + hold)
    return replace(after, broken=before.broken + _rise(before.fatal, fatal))


def findings(errors: Errors, now: float) -> tuple[Finding, ...]:
    """Return what is to be said of a function."""
    found = []
    if errors.broken:
        said = f"{errors.broken} fatal PCIe errors since it was last bound or reset"
        found.append(Finding(FATAL, Severity.CRITICAL, said))
    if now < errors.until:
        found.append(Finding(NONFATAL, Severity.WARNING, "uncorrected PCIe errors a short time ago"))
    return tuple(found)


def _rise(before: int | None, now: int | None) -> int:
    return 0 if before is None or now is None else now - before
