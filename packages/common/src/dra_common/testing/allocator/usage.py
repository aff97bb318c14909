"""What claims have of the devices: the state that an allocation starts from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from dra_common.testing.allocator.outcome import DeviceId
from dra_common.testing.allocator.quantities import parse_quantity

Amounts = dict[str, Fraction]
"""Name of a capacity -> amount."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Devices in use.

    Args:
        whole: device -> the claim (``namespace/name``) that has it for itself.
        shared: device that allows multiple allocations -> what all its shares take together.
    """

    whole: Mapping[DeviceId, str]
    shared: Mapping[DeviceId, Amounts]

    def __contains__(self, device: object) -> bool:
        """Whether any claim has the device or a share of it."""
        return device in self.whole or device in self.shared


def read_usage(claims: Iterable[Mapping[str, Any]]) -> Usage:
    """Return what allocated claims have; adminAccess takes nothing from anybody."""
    whole: dict[DeviceId, str] = {}
    shared: dict[DeviceId, Amounts] = {}
    for claim in claims:
        for result in _results(claim):
            device = DeviceId(result["driver"], result["pool"], result["device"])
            if not result.get("shareID"):
                whole[device] = claim_name(claim)
                continue
            amounts = shared.setdefault(device, {})
            for name, amount in result.get("consumedCapacity", {}).items():
                amounts[name] = amounts.get(name, Fraction(0)) + parse_quantity(str(amount))
    return Usage(whole, shared)


def claim_name(claim: Mapping[str, Any]) -> str:
    """Return ``namespace/name``."""
    metadata = claim["metadata"]
    return f"{metadata.get('namespace', 'default')}/{metadata['name']}"


def _results(claim: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    allocation = claim.get("status", {}).get("allocation") or {}
    for result in allocation.get("devices", {}).get("results", ()):
        if not result.get("adminAccess"):
            yield result
