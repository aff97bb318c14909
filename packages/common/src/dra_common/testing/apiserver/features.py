"""Kubernetes versions and feature gates, as far as resource.k8s.io depends on them.

Defaults are those of kube-apiserver 1.34 to 1.37.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_DEFAULT_ON: dict[str, tuple[str, ...]] = {
    "DRADeviceBindingConditions": ("1.36", "1.37"),
    "DRAConsumableCapacity": ("1.36", "1.37"),
    "DRADeviceCompatibilityGroups": (),
    "DRADeviceTaints": ("1.36", "1.37"),
    "DRAListTypeAttributes": (),
    "DRANodeAllocatableResources": (),
    "DRAOptionalNodeOperations": (),
    "DRAPartitionableDevices": ("1.36", "1.37"),
    "DRAPartitionableDevicesType": (),
    "DRAResourceClaimDeviceStatus": ("1.34", "1.35", "1.36", "1.37"),
}

VERSIONS = ("1.34", "1.35", "1.36", "1.37")


@dataclass(frozen=True, slots=True)
class Features:
    """One server's version and what is on in it."""

    version: str
    on: frozenset[str]

    @classmethod
    def of(cls, version: str, gates: Mapping[str, bool]) -> Features:
        """Apply ``gates`` to the defaults of ``version``. Raises ValueError for an unknown version or gate."""
        if version not in VERSIONS:
            raise ValueError(f"Kubernetes {version} is not imitated; one of {', '.join(VERSIONS)}")
        unknown = sorted(set(gates) - set(_DEFAULT_ON))
        if unknown:
            raise ValueError(f"unknown feature gates {', '.join(unknown)}; known: {', '.join(_DEFAULT_ON)}")
        on = {gate for gate, versions in _DEFAULT_ON.items() if gates.get(gate, version in versions)}
        return cls(version, frozenset(on))

    def __contains__(self, gate: str) -> bool:
        return gate in self.on

    @property
    def early(self) -> bool:
        """Whether the limits of 1.34 hold: counters beside devices, 4 taints."""
        return self.version == "1.34"
