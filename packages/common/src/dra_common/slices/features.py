"""Which fields of a ResourceSlice a server keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from dra_common.errors import SettingsError

FeatureName = Literal["taints", "partitionable", "consumable_capacity"]

GATES: Mapping[FeatureName, str] = {
    "taints": "DRADeviceTaints",
    "partitionable": "DRAPartitionableDevices",
    "consumable_capacity": "DRAConsumableCapacity",
}
"""The feature gates of kube-apiserver; with the gate off it clears the fields without a word (KEP-5055, 4815, 5075)."""

COSTS: Mapping[FeatureName, str] = {
    "taints": "a device that should keep pods away is not published at all, unless a claim holds it",
    "partitionable": "of devices that share hardware only those are published that can all be used at once",
    "consumable_capacity": "devices that several claims could share are not published",
}
"""What a cluster loses without the feature."""

_ON_BY_DEFAULT = (1, 36)
_COUNTERS_IN_SLICES_OF_THEIR_OWN = (1, 35)
_MORE_TAINTS = (1, 35)


@dataclass(frozen=True, slots=True)
class ServerFeatures:
    """What one API server, with its scheduler, understands.

    Args:
        version: major and minor of the server, for example ``(1, 36)``.
        taints: devices may carry taints.
        partitionable: devices may consume counters of their parent. Never before 1.35, whatever the gate says: until
            then counter sets had to stand in the slice of the devices that use them.
        consumable_capacity: several claims may share a device.
    """

    version: tuple[int, int]
    taints: bool = False
    partitionable: bool = False
    consumable_capacity: bool = False

    def __post_init__(self) -> None:
        if self.partitionable and self.version < _COUNTERS_IN_SLICES_OF_THEIR_OWN:
            raise ValueError(f"a server {self.version} has no counter sets in slices of their own")

    @classmethod
    def of(cls, version: tuple[int, int]) -> ServerFeatures:
        """Return what a server of this version does with its default feature gates: all three are on from 1.36."""
        on = version >= _ON_BY_DEFAULT
        return cls(version, taints=on, partitionable=on, consumable_capacity=on)

    def without(self, *names: FeatureName) -> ServerFeatures:
        """Return the same server with some features off: learned from dropped fields, or forced by a setting."""
        if unknown := sorted(set(names) - set(get_args(FeatureName))):
            raise ValueError(f"unknown feature {unknown[0]!r}; known are {', '.join(GATES)}")
        return replace(
            self,
            taints=self.taints and "taints" not in names,
            partitionable=self.partitionable and "partitionable" not in names,
            consumable_capacity=self.consumable_capacity and "consumable_capacity" not in names,
        )

    @property
    def max_taints(self) -> int:
        """Most taints of one device."""
        return 16 if self.version >= _MORE_TAINTS else 4

    @property
    def on(self) -> frozenset[FeatureName]:
        """The features that slices may use."""
        return frozenset(name for name in GATES if getattr(self, name))


def parse_features(text: str, option: str) -> tuple[FeatureName, ...]:
    """Return the features of a comma-separated list; each may be written as its feature gate.

    Raises SettingsError, naming ``option``, for anything else.
    """
    known: dict[str, FeatureName] = {gate: name for name, gate in GATES.items()} | {
        name: name for name in GATES
    }
    words = [word.strip() for word in text.split(",") if word.strip()]
    if unknown := sorted(set(words) - set(known)):
        allowed = ", ".join(f"{name} (or {gate})" for name, gate in GATES.items())
        raise SettingsError(
            f"{option} {unknown[0]!r} is not a feature", cure=f"allowed, comma-separated: {allowed}"
        )
    return tuple(name for name in GATES if name in {known[word] for word in words})
