"""When two slices say the same, whoever printed them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

_SPEC_FIELDS = (
    "driver",
    "nodeName",
    "nodeSelector",
    "allNodes",
    "perDeviceNodeSelection",
    "partitionTypeAttribute",
    "skipNodeOperations",
)
_POOL_FIELDS = ("name", "generation", "resourceSliceCount")
_DEVICE_FIELDS = (
    "name",
    "attributes",
    "allowMultipleAllocations",
    "nodeName",
    "nodeSelector",
    "allNodes",
    "bindsToNode",
    "bindingConditions",
    "bindingFailureConditions",
    "nodeAllocatableResources",
)
_SUFFIXES = {
    **{
        suffix: Fraction(1024) ** power
        for power, suffix in enumerate(("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"))
    },
    **{
        suffix: Fraction(1000) ** power
        for power, suffix in enumerate(("n", "u", "m", "", "k", "M", "G", "T", "P", "E"), -3)
    },
}

View = dict[str, Any]


def view(spec: Mapping[str, Any]) -> View:
    """Return what a slice means, comparable with ``==``.

    Left out: absent and empty fields, ``timeAdded`` of taints (the server sets it), the way quantities are written,
    and fields that this version of the driver does not know, which a newer server may default.
    """
    seen = {name: spec.get(name) for name in _SPEC_FIELDS}
    seen["pool"] = {name: (spec.get("pool") or {}).get(name) for name in _POOL_FIELDS}
    seen["devices"] = [_device(device) for device in spec.get("devices") or ()]
    seen["sharedCounters"] = [_counter_set(item) for item in spec.get("sharedCounters") or ()]
    return _set_fields(seen)


def content(spec: Mapping[str, Any]) -> View:
    """Return the view of devices and counter sets alone."""
    return {name: value for name, value in view(spec).items() if name in ("devices", "sharedCounters")}


def fingerprint(spec: Mapping[str, Any]) -> str:
    """Return a text that is the same for the same content."""
    return json.dumps(content(spec), sort_keys=True, default=str)


def digest(item: Mapping[str, Any]) -> str:
    """Return a short text that is the same as long as nobody changes what is ours of a stored slice."""
    ours = item.get("spec"), item["metadata"].get("ownerReferences")
    return hashlib.blake2b(json.dumps(ours, sort_keys=True).encode(), digest_size=16).hexdigest()


def dropped_fields(sent: Mapping[str, Any], stored: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the fields of devices and counter sets that the server stored differently.

    ``devices[].taints`` was cleared, as by a feature gate that is off. ``devices[].taints (changed)`` has another
    value, as by a webhook. ``devices`` are not the same devices.
    """
    wanted, kept = content(sent), content(stored)
    found = set[str]()
    if wanted.get("sharedCounters") != kept.get("sharedCounters"):
        found.add("sharedCounters (changed)" if "sharedCounters" in kept else "sharedCounters")
    pairs = zip(wanted.get("devices", ()), kept.get("devices", ()), strict=False)
    if _names(wanted) != _names(kept):
        found.add("devices")
        pairs = zip((), (), strict=True)
    for device, other in pairs:
        found |= {
            _place(name, device, other) for name in {*device, *other} if device.get(name) != other.get(name)
        }
    return tuple(sorted(found))


def _names(content: View) -> list[Any]:
    return [device["name"] for device in content.get("devices", ())]


def _place(name: str, device: View, other: View) -> str:
    """Name a field; of capacities tell apart whether only how they may be requested has changed."""
    was_changed = name in other
    if name == "capacity" and _amounts(device) == _amounts(other):
        name = "capacity[].requestPolicy"
        was_changed = any("requestPolicy" in item for item in other["capacity"].values())
    return f"devices[].{name}{' (changed)' * was_changed}"


def _amounts(device: View) -> View:
    return {key: item["value"] for key, item in device.get("capacity", {}).items()}


def with_times(
    devices: Iterable[Mapping[str, Any]], existing: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Give taints that a device of ``existing`` (by name) already has the time at which they were added."""
    return [_with_times(device, existing.get(device["name"], {})) for device in devices]


def _with_times(device: Mapping[str, Any], existing: Mapping[str, Any]) -> dict[str, Any]:
    if not device.get("taints"):
        return dict(device)
    times = {
        _taint_key(taint): taint["timeAdded"]
        for taint in existing.get("taints") or ()
        if "timeAdded" in taint
    }
    taints = [
        {**taint, "timeAdded": times[_taint_key(taint)]} if _taint_key(taint) in times else taint
        for taint in device["taints"]
    ]
    return {**device, "taints": taints}


def _taint_key(taint: Mapping[str, Any]) -> tuple[str, str, str]:
    return taint.get("key") or "", taint.get("value") or "", taint.get("effect") or ""


def _device(device: Mapping[str, Any]) -> View:
    seen = {name: device.get(name) for name in _DEVICE_FIELDS}
    seen["taints"] = [_taint_key(taint) for taint in device.get("taints") or ()]
    seen["capacity"] = {name: _capacity(item) for name, item in (device.get("capacity") or {}).items()}
    seen["consumesCounters"] = [_counter_set(item) for item in device.get("consumesCounters") or ()]
    return _set_fields(seen)


def _capacity(item: Mapping[str, Any]) -> View:
    policy = item.get("requestPolicy") or {}
    seen = {
        "default": _amount(policy.get("default")),
        "validValues": [_amount(value) for value in policy.get("validValues") or ()],
        "validRange": {name: _amount(value) for name, value in (policy.get("validRange") or {}).items()},
    }
    return {"value": _amount(item.get("value")), **_set_fields({"requestPolicy": _set_fields(seen)})}


def _counter_set(item: Mapping[str, Any]) -> View:
    counters = {name: _amount(counter.get("value")) for name, counter in (item.get("counters") or {}).items()}
    names = {name: item.get(name) for name in ("name", "counterSet", "compatibilityGroups")}
    return _set_fields({**names, "counters": counters})


def _amount(text: object) -> Fraction | str | None:
    """Return the number a quantity stands for; a text that is none is compared as it is."""
    if text is None:
        return None
    digits = str(text).rstrip("numkKMGTPEi")
    try:
        return Fraction(digits) * _SUFFIXES[str(text)[len(digits) :]]
    except (ValueError, KeyError, ZeroDivisionError):
        return str(text)


def _set_fields(fields: Mapping[str, Any]) -> View:
    """Leave out what is absent, empty or false: the API does not tell these apart."""
    return {name: value for name, value in fields.items() if value or isinstance(value, Fraction)}
