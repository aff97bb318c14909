"""What kernel events tell of a device's health, as long as it lasts; pure.

Sources: Documentation/gpu/drm-uapi.rst (device wedging, ``WEDGED=`` since Linux 6.15),
Documentation/PCI/pci-error-recovery.rst and ``drivers/pci/pci-driver.c`` (``pci_uevent_ers``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from dra_common.model import Finding, Severity
from dra_common.ports import Uevent

Incidents = Mapping[str, Mapping[str, Finding]]
"""PCI address -> what was said -> the finding."""

NONE: Incidents = MappingProxyType({})

WEDGED, RECOVERY = "wedged", "pcie-recovery"

_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]", re.ASCII)
_ENDS = frozenset({"add", "bind", "unbind", "remove"})
"""Actions on a function after which what a driver said of it before no longer counts."""
_ITSELF = "none"
"""The recovery method that says that the driver recovered by itself."""


def is_address(text: str) -> bool:
    """Whether this is a PCI address."""
    return _ADDRESS.fullmatch(text) is not None


def after(before: Incidents, event: Uevent) -> Incidents:
    """Return what is known after an event; the same object if it tells nothing new."""
    address = _address(event.devpath)
    if not address:
        return before
    if event.subsystem == "pci" and event.action in _ENDS and event.devpath.endswith(address):
        return (
            {name: found for name, found in before.items() if name != address}
            if address in before
            else before
        )
    found = _told(event)
    if found is None:
        return before
    what, finding = found
    known = {name: one for name, one in before.get(address, {}).items() if name != what}
    if finding is not None:
        known[what] = finding
    return before if known == before.get(address, {}) else {**before, address: known}


def mended(event: Uevent) -> str:
    """Return the address of a function that begins anew with this event, ``""`` if none does.

    It was bound or reset, so errors of before say nothing of it any more.
    """
    if event.subsystem != "pci":
        return ""
    recovered = (event.properties or {}).get("ERROR_EVENT") == "SUCCESSFUL_RECOVERY"
    address = _address(event.devpath)
    return address if event.devpath.endswith(address) and (event.action in _ENDS or recovered) else ""


def _told(event: Uevent) -> tuple[str, Finding | None] | None:
    """Return of what the event tells, and the finding, None if that is over; None if it is another's business."""
    said = event.properties or {}
    if event.action != "change":
        return None
    if event.subsystem == "drm" and "WEDGED" in said:
        return WEDGED, _wedged([method for method in said["WEDGED"].split(",") if method])
    match said.get("ERROR_EVENT") if event.subsystem == "pci" else None:
        case "FAILED_RECOVERY":
            # No more than a warning: after an error that is not fatal it only means that the driver takes no part in
            # recovery, and the device may work on. The counter of fatal errors tells the rest.
            return RECOVERY, Finding(
                RECOVERY, Severity.WARNING, "the kernel could not recover the device from a PCIe error"
            )
        case "SUCCESSFUL_RECOVERY":
            return RECOVERY, None
    return None


def _wedged(methods: list[str]) -> Finding | None:
    if methods == [_ITSELF]:
        return None
    ways = ", ".join(methods) or "unknown"
    message = f"its kernel driver has given it up after a hang; what may bring it back: {ways}"
    return Finding(WEDGED, Severity.CRITICAL, message)


def _address(devpath: str) -> str:
    """Return the innermost function of a device's path: the one that the event is about."""
    return next((part for part in reversed(devpath.split("/")) if is_address(part)), "")
