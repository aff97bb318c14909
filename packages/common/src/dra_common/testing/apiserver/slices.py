"""ResourceSlices: what is kept of them, and the rules of their spec (resource.k8s.io/v1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dra_common.testing.apiserver import device_checks, gates, schema
from dra_common.testing.apiserver.features import Features
from dra_common.testing.apiserver.names import check_driver, check_fully_qualified, check_label, check_pool
from dra_common.testing.apiserver.registry import now
from dra_common.testing.apiserver.resources import Json, Rules
from dra_common.testing.apiserver.schema import (
    ANY,
    BOOL,
    INT,
    QUANTITY,
    STRING,
    STRING_POINTER,
    TIME,
    ListOf,
    MapOf,
    Record,
    Scalar,
)
from dra_common.testing.apiserver.status import (
    Cause,
    duplicate,
    invalid,
    not_supported,
    required,
    too_many,
)

DEVICES = 128
DEVICES_WITH_EXTRAS = 64
COUNTER_SETS = 8
COUNTERS = 32

_COUNTERS = MapOf(Record({"value": QUANTITY}))
_ATTRIBUTE = Record(
    {
        "int": INT,
        "bool": BOOL,
        "string": STRING_POINTER,
        "version": STRING_POINTER,
        "ints": ListOf(INT),
        "bools": ListOf(BOOL),
        "strings": ListOf(STRING),
        "versions": ListOf(STRING),
    }
)
_POLICY = Record(
    {
        "default": QUANTITY,
        "validValues": ListOf(QUANTITY),
        "validRange": Record({"min": QUANTITY, "max": QUANTITY, "step": QUANTITY}),
    }
)
_TAINT = Record({"key": STRING, "value": STRING, "effect": STRING, "timeAdded": TIME})
_CONSUMPTION = Record({"counterSet": STRING, "counters": _COUNTERS, "compatibilityGroups": ListOf(STRING)})
_DEVICE = Record(
    {
        "name": STRING,
        "attributes": MapOf(_ATTRIBUTE),
        "capacity": MapOf(Record({"value": QUANTITY, "requestPolicy": _POLICY})),
        "consumesCounters": ListOf(_CONSUMPTION),
        "nodeName": STRING_POINTER,
        "nodeSelector": ANY,
        "allNodes": BOOL,
        "taints": ListOf(_TAINT),
        "bindsToNode": BOOL,
        "bindingConditions": ListOf(STRING),
        "bindingFailureConditions": ListOf(STRING),
        "allowMultipleAllocations": BOOL,
        "nodeAllocatableResources": ANY,
    }
)
SPEC = Record(
    {
        "driver": STRING,
        "pool": Record(
            {
                "name": STRING,
                "generation": Scalar("int", default=0),
                "resourceSliceCount": Scalar("int", default=0),
            }
        ),
        "nodeName": STRING_POINTER,
        "nodeSelector": ANY,
        "allNodes": BOOL,
        "devices": ListOf(_DEVICE),
        "perDeviceNodeSelection": BOOL,
        "sharedCounters": ListOf(Record({"name": STRING, "counters": _COUNTERS})),
        "partitionTypeAttribute": STRING,
        "skipNodeOperations": ListOf(STRING),
    }
)

_PLACES = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
_OPERATIONS = ("*", "NodePrepareResources", "NodeUnprepareResources")


class SliceRules(Rules):
    """Decoding, gates and validation for one server version."""

    def __init__(self, features: Features) -> None:
        self._features = features

    def admit(self, new: Json, old: Json | None) -> Json:
        """Prune and canonicalise the spec, default taints, drop what gates forbid."""
        spec = schema.decode(SPEC, new.get("spec") or {}, "ResourceSlice.spec")
        for device in spec.get("devices", ()):
            for taint in device.get("taints", ()):
                taint.setdefault("timeAdded", now())
        gates.drop_from_slice(spec, old["spec"] if old else {}, self._features)
        return {
            "apiVersion": new["apiVersion"],
            "kind": new["kind"],
            "metadata": new["metadata"],
            "spec": spec,
        }

    def check(self, new: Json, old: Json | None) -> Sequence[Cause]:
        """Return the broken rules of the spec."""
        spec = new["spec"]
        causes = [*_pool(spec), *_place(spec), *_content(spec, self._features)]
        causes += _counter_sets(spec, self._features)
        causes += _devices(spec, self._features)
        causes += _extras(spec)
        return causes + (_immutable(spec, old["spec"]) if old else [])


def _pool(spec: Json) -> list[Cause]:
    pool = spec.get("pool", {})
    causes = check_driver("spec.driver", spec.get("driver", ""))
    causes += check_pool("spec.pool.name", pool.get("name", ""))
    if pool.get("generation", 0) < 0:
        causes.append(
            invalid("spec.pool.generation", pool["generation"], "must be greater than or equal to zero")
        )
    if pool.get("resourceSliceCount", 0) <= 0:
        count = pool.get("resourceSliceCount", 0)
        causes.append(invalid("spec.pool.resourceSliceCount", count, "must be greater than zero"))
    return causes


def _place(spec: Json) -> list[Cause]:
    given = [name for name in _PLACES if name in spec]
    causes = [
        invalid(f"spec.{name}", spec[name], "must be either unset or set to true")
        for name in ("allNodes", "perDeviceNodeSelection")
        if spec.get(name) is False
    ]
    if spec.get("nodeName") == "":
        causes.append(invalid("spec.nodeName", "", "must be either unset or set to a non-empty string"))
    if "nodeSelector" in spec:
        causes += _one_term("spec.nodeSelector", spec["nodeSelector"])
    choices = ", ".join(f"`{name}`" for name in _PLACES)
    if not given:
        causes.append(required("spec", f"exactly one of {choices} is required"))
    elif len(given) > 1:
        causes.append(invalid("spec", "{" + ", ".join(given) + "}", f"exactly one of {choices} is required"))
    return causes


def _one_term(path: str, selector: Any) -> list[Cause]:  # noqa: ANN401 (JSON)
    terms = selector.get("nodeSelectorTerms") if isinstance(selector, dict) else None
    if not isinstance(terms, list) or len(terms) != 1:
        return [invalid(f"{path}.nodeSelectorTerms", terms, "must have exactly one node selector term")]
    return []


def _content(spec: Json, features: Features) -> list[Cause]:
    devices = spec.get("devices", [])
    causes = []
    if spec.get("sharedCounters") and devices and not features.early:
        choice = "exactly one of `devices`, `sharedCounters` may be specified"
        causes.append(invalid("spec", "{devices, sharedCounters}", choice))
    extras = not features.early and any(device_checks.has_extras(device) for device in devices)
    limit = DEVICES_WITH_EXTRAS if extras else DEVICES
    if len(devices) > limit:
        causes.append(too_many("spec.devices", len(devices), limit))
    return causes


def _counter_sets(spec: Json, features: Features) -> list[Cause]:
    sets = spec.get("sharedCounters", [])
    causes = [too_many("spec.sharedCounters", len(sets), COUNTER_SETS)] if len(sets) > COUNTER_SETS else []
    for index, entry in enumerate(sets):
        path = f"spec.sharedCounters[{index}]"
        causes += check_label(f"{path}.name", entry.get("name", ""))
        if entry.get("name") in [other.get("name") for other in sets[:index]]:
            causes.append(duplicate(f"{path}.name", entry.get("name")))
        causes += device_checks.check_counters(f"{path}.counters", entry.get("counters", {}), COUNTERS)
    total = sum(len(entry.get("counters", {})) for entry in sets)
    if features.early and total > COUNTERS:
        causes.append(
            invalid("spec.sharedCounters", total, f"the total number of counters must not exceed {COUNTERS}")
        )
    return causes


def _devices(spec: Json, features: Features) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, device in enumerate(spec.get("devices", [])):
        path = f"spec.devices[{index}]"
        name = device.get("name", "")
        causes += check_label(f"{path}.name", name)
        if name in seen:
            causes.append(duplicate(f"{path}.name", name))
        seen.add(name)
        causes += device_checks.check(path, device, features, per_device="perDeviceNodeSelection" in spec)
    return causes


def _extras(spec: Json) -> list[Cause]:
    causes: list[Cause] = []
    if "partitionTypeAttribute" in spec:
        causes += check_fully_qualified("spec.partitionTypeAttribute", spec["partitionTypeAttribute"])
    operations = spec.get("skipNodeOperations", [])
    for index, operation in enumerate(operations):
        if operation not in _OPERATIONS:
            causes.append(not_supported(f"spec.skipNodeOperations[{index}]", operation, _OPERATIONS))
    if "NodePrepareResources" in operations and not {"NodeUnprepareResources", "*"} & set(operations):
        detail = "skipping NodePrepareResources requires skipping NodeUnprepareResources"
        causes.append(invalid("spec.skipNodeOperations", operations, detail))
    return causes


def _immutable(new: Json, old: Json) -> list[Cause]:
    pairs = {
        "spec.driver": (new.get("driver"), old.get("driver")),
        "spec.pool.name": (new.get("pool", {}).get("name"), old.get("pool", {}).get("name")),
        "spec.nodeName": (new.get("nodeName"), old.get("nodeName")),
    }
    return [invalid(path, a, "field is immutable") for path, (a, b) in pairs.items() if a != b]
