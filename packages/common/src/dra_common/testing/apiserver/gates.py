"""Feature gates: the fields of a gate that is off vanish without a word, unless the stored object uses them already."""

from __future__ import annotations

from collections.abc import Iterator

from dra_common.testing.apiserver.features import Features
from dra_common.testing.apiserver.resources import Json

_Fields = dict[str, tuple[str, ...]]
"""Gate -> the fields it guards in one kind of object."""

_SPEC: _Fields = {
    "DRAPartitionableDevices": ("sharedCounters", "perDeviceNodeSelection"),
    "DRAPartitionableDevicesType": ("partitionTypeAttribute",),
    "DRAOptionalNodeOperations": ("skipNodeOperations",),
}
_DEVICE: _Fields = {
    "DRADeviceTaints": ("taints",),
    "DRAPartitionableDevices": ("consumesCounters", "nodeName", "nodeSelector", "allNodes"),
    "DRADeviceBindingConditions": ("bindsToNode", "bindingConditions", "bindingFailureConditions"),
    "DRAConsumableCapacity": ("allowMultipleAllocations",),
    "DRANodeAllocatableResources": ("nodeAllocatableResources",),
}
_CAPACITY: _Fields = {"DRAConsumableCapacity": ("requestPolicy",)}
_ATTRIBUTE: _Fields = {"DRAListTypeAttributes": ("ints", "bools", "strings", "versions")}
_CONSUMPTION: _Fields = {"DRADeviceCompatibilityGroups": ("compatibilityGroups",)}
_RESULT: _Fields = {
    "DRAConsumableCapacity": ("shareID", "consumedCapacity"),
    "DRADeviceBindingConditions": ("bindingConditions", "bindingFailureConditions"),
}


def drop_from_slice(spec: Json, old: Json, features: Features) -> None:
    """Remove from a slice's ``spec``, in place, what is off and is not in use in ``old``."""
    _drop(list(_slice_places(spec)), list(_slice_places(old)), features)


def drop_from_claim(status: Json, old: Json, features: Features) -> None:
    """Remove from a claim's ``status``, in place, what is off and is not in use in ``old``."""
    _drop(list(_claim_places(status)), list(_claim_places(old)), features)


def _drop(new: list[tuple[Json, _Fields]], old: list[tuple[Json, _Fields]], features: Features) -> None:
    in_use = {
        gate
        for place, fields in old
        for gate, names in fields.items()
        if any(name in place for name in names)
    }
    for place, fields in new:
        for gate, names in fields.items():
            if gate not in features and gate not in in_use:
                for name in names:
                    place.pop(name, None)


def _slice_places(spec: Json) -> Iterator[tuple[Json, _Fields]]:
    yield spec, _SPEC
    for device in spec.get("devices", ()):
        yield device, _DEVICE
        for attribute in device.get("attributes", {}).values():
            yield attribute, _ATTRIBUTE
        for capacity in device.get("capacity", {}).values():
            yield capacity, _CAPACITY
        for consumption in device.get("consumesCounters", ()):
            yield consumption, _CONSUMPTION


def _claim_places(status: Json) -> Iterator[tuple[Json, _Fields]]:
    yield status, {"DRAResourceClaimDeviceStatus": ("devices",)}
    for result in status.get("allocation", {}).get("devices", {}).get("results", ()):
        yield result, _RESULT
