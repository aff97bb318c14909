"""The rules of one device in a ResourceSlice."""

from __future__ import annotations

from dra_common.testing.apiserver.capacity_checks import check_capacity
from dra_common.testing.apiserver.features import Features
from dra_common.testing.apiserver.names import (
    check_label,
    check_label_name,
    check_label_value,
    check_qualified,
    is_semver,
)
from dra_common.testing.apiserver.resources import Json
from dra_common.testing.apiserver.status import (
    Cause,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
    too_long,
    too_many,
)

ENTRIES = 32
VALUES = 48
TEXT = 64
TAINTS = 16
TAINTS_EARLY = 4
CONSUMPTIONS = 2
CONSUMED = 32
GROUPS = 2
CONDITIONS = 4

_LISTS = ("ints", "bools", "strings", "versions")
_EFFECTS = ("None", "NoSchedule", "NoExecute")
_PLACES = ("nodeName", "nodeSelector", "allNodes")


def has_extras(device: Json) -> bool:
    """Whether the device lowers the number of devices a slice may hold."""
    lists = any(kind in value for value in device.get("attributes", {}).values() for kind in _LISTS)
    return lists or "taints" in device or "consumesCounters" in device


def check(path: str, device: Json, features: Features, *, per_device: bool) -> list[Cause]:
    """Return every rule that the device breaks, its name excepted."""
    return [
        *_sizes(path, device),
        *_attributes(path, device),
        *_capacities(path, device),
        *_consumptions(path, device),
        *_taints(path, device, features),
        *_place(path, device, per_device=per_device),
        *_conditions(path, device),
    ]


def _sizes(path: str, device: Json) -> list[Cause]:
    attributes, capacity = device.get("attributes", {}), device.get("capacity", {})
    causes = []
    if len(attributes) + len(capacity) > ENTRIES:
        detail = f"the total number of attributes and capacities must not exceed {ENTRIES}"
        causes.append(invalid(path, len(attributes) + len(capacity), detail))
    values = sum(len(value.get(kind, ())) for value in attributes.values() for kind in _LISTS)
    values += sum(1 for value in attributes.values() if not any(kind in value for kind in _LISTS))
    if values > VALUES:
        causes.append(
            invalid(f"{path}.attributes", values, f"the total number of values must not exceed {VALUES}")
        )
    return causes


def _attributes(path: str, device: Json) -> list[Cause]:
    causes = []
    for name, value in device.get("attributes", {}).items():
        at = f"{path}.attributes[{name}]"
        causes += check_qualified(at, name)
        if not value:
            causes.append(required(at, "exactly one value must be specified"))
        elif len(value) > 1:
            causes.append(invalid(at, ", ".join(sorted(value)), "exactly one value must be specified"))
        causes += _texts(at, value)
    return causes


def _texts(path: str, value: Json) -> list[Cause]:
    strings = [value[kind] for kind in ("string", "version") if kind in value]
    strings += [text for kind in ("strings", "versions") for text in value.get(kind, ())]
    causes = [too_long(path, TEXT) for text in strings if len(text.encode()) > TEXT]
    versions = [value["version"]] if "version" in value else value.get("versions", [])
    detail = "must be a string compatible with semver.org spec 2.0.0"
    return causes + [invalid(f"{path}.version", text, detail) for text in versions if not is_semver(text)]


def _capacities(path: str, device: Json) -> list[Cause]:
    shared = device.get("allowMultipleAllocations") is True
    causes = []
    for name, capacity in device.get("capacity", {}).items():
        at = f"{path}.capacity[{name}]"
        causes += check_qualified(at, name)
        causes += check_capacity(at, capacity, shared=shared)
    return causes


def _consumptions(path: str, device: Json) -> list[Cause]:
    entries = device.get("consumesCounters", [])
    path = f"{path}.consumesCounters"
    causes = [too_many(path, len(entries), CONSUMPTIONS)] if len(entries) > CONSUMPTIONS else []
    for index, entry in enumerate(entries):
        at = f"{path}[{index}]"
        causes += check_label(f"{at}.counterSet", entry.get("counterSet", ""))
        if entry.get("counterSet") in [other.get("counterSet") for other in entries[:index]]:
            causes.append(duplicate(f"{at}.counterSet", entry.get("counterSet")))
        causes += check_counters(f"{at}.counters", entry.get("counters", {}), CONSUMED)
        groups = entry.get("compatibilityGroups", [])
        causes += [too_many(f"{at}.compatibilityGroups", len(groups), GROUPS)] if len(groups) > GROUPS else []
        causes += [
            c for i, group in enumerate(groups) for c in check_label(f"{at}.compatibilityGroups[{i}]", group)
        ]
    return causes


def check_counters(path: str, counters: Json, limit: int) -> list[Cause]:
    """A map of counters: at least one, at most ``limit``, labels as names, a value each."""
    if not counters:
        return [required(path)]
    causes = [too_many(path, len(counters), limit)] if len(counters) > limit else []
    for name, counter in counters.items():
        causes += check_label(f"{path}[{name}]", name)
        if "value" not in counter:
            causes.append(required(f"{path}[{name}].value"))
    return causes


def _taints(path: str, device: Json, features: Features) -> list[Cause]:
    taints = device.get("taints", [])
    limit = TAINTS_EARLY if features.early else TAINTS
    causes = [too_many(f"{path}.taints", len(taints), limit)] if len(taints) > limit else []
    for index, taint in enumerate(taints):
        at = f"{path}.taints[{index}]"
        causes += check_label_name(f"{at}.key", taint.get("key", ""))
        causes += check_label_value(f"{at}.value", taint.get("value", ""))
        if not taint.get("effect"):
            causes.append(required(f"{at}.effect"))
        elif taint["effect"] not in _EFFECTS:
            causes.append(not_supported(f"{at}.effect", taint["effect"], _EFFECTS))
    return causes


def _place(path: str, device: Json, *, per_device: bool) -> list[Cause]:
    given = [name for name in _PLACES if name in device]
    if not per_device:
        detail = "must not be set unless `perDeviceNodeSelection` is true"
        return [forbidden(f"{path}.{name}", detail) for name in given]
    if len(given) != 1:
        choices = ", ".join(f"`{name}`" for name in _PLACES)
        detail = (
            f"exactly one of {choices} is required when `perDeviceNodeSelection` is set to true in the spec"
        )
        return [invalid(path, ", ".join(given), detail) if given else required(path, detail)]
    return []


def _conditions(path: str, device: Json) -> list[Cause]:
    bound = device.get("bindingConditions", [])
    failed = device.get("bindingFailureConditions", [])
    causes = []
    for name, conditions in (("bindingConditions", bound), ("bindingFailureConditions", failed)):
        if len(conditions) > CONDITIONS:
            causes.append(too_many(f"{path}.{name}", len(conditions), CONDITIONS))
        if len(set(conditions)) != len(conditions):
            causes.append(duplicate(f"{path}.{name}", ", ".join(conditions)))
        causes += [
            c for i, text in enumerate(conditions) for c in check_label_name(f"{path}.{name}[{i}]", text)
        ]
    if bool(bound) != bool(failed):
        missing = "bindingFailureConditions" if bound else "bindingConditions"
        causes.append(
            required(f"{path}.{missing}", "bindingConditions and bindingFailureConditions go together")
        )
    causes += [
        duplicate(f"{path}.bindingFailureConditions", text) for text in sorted(set(bound) & set(failed))
    ]
    return causes
