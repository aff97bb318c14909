from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dra_common.testing.apiserver import FakeApiServer
from dra_common.testing.apiserver.features import VERSIONS, Features

SLICES = "/apis/resource.k8s.io/v1/resourceslices"
Call = Callable[..., Any]
Spec = Callable[..., dict[str, Any]]

POLICY = {"value": "8Gi", "requestPolicy": {"default": "4Gi"}}
CONSUMES = [{"counterSet": "s", "counters": {"c": {"value": "1"}}}]
GATED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "DRADeviceTaints",
        {"taints": [{"key": "k", "effect": "None", "timeAdded": "2026-01-01T00:00:00Z"}]},
        {},
    ),
    ("DRAPartitionableDevices", {"consumesCounters": CONSUMES}, {}),
    ("DRADeviceBindingConditions", {"bindingConditions": ["a"], "bindingFailureConditions": ["b"]}, {}),
    (
        "DRAConsumableCapacity",
        {"allowMultipleAllocations": True, "capacity": {"memory": POLICY}},
        {"capacity": {"memory": {"value": "8Gi"}}},
    ),
]


def post(http: Call, spec: dict[str, Any]) -> Any:
    reply = http("POST", SLICES, {"metadata": {"name": "s1"}, "spec": spec})
    assert reply.status == 201, reply.body
    return reply.body


@pytest.mark.parametrize(("gate", "fields", "left"), GATED)
def test_a_gate_that_is_off_drops_its_fields_without_a_word(
    dial: Call, slice_spec: Spec, gate: str, fields: dict[str, Any], left: dict[str, Any]
) -> None:
    wanted = slice_spec(devices=[{"name": "a", **fields}])
    with FakeApiServer(feature_gates={gate: True}) as server:
        assert post(dial(server), wanted)["spec"]["devices"] == wanted["devices"]
    with FakeApiServer(feature_gates={gate: False}) as server:
        assert post(dial(server), wanted)["spec"]["devices"] == [{"name": "a", **left}]


def test_counter_sets_and_selection_per_device_belong_to_partitionable_devices(
    dial: Call, slice_spec: Spec
) -> None:
    counters = slice_spec(sharedCounters=[{"name": "s", "counters": {"c": {"value": "1"}}}])
    with FakeApiServer(feature_gates={"DRAPartitionableDevices": False}) as server:
        http = dial(server)
        assert "sharedCounters" not in post(http, counters)["spec"]
        # Without the field that says where it is, the slice is refused: the loss is not always silent.
        placed = slice_spec(
            nodeName=None, perDeviceNodeSelection=True, devices=[{"name": "a", "nodeName": "n1"}]
        )
        assert http("POST", SLICES, {"metadata": {"name": "s2"}, "spec": placed}).status == 422


def test_a_list_attribute_whose_list_is_dropped_makes_the_device_invalid(
    dial: Call, slice_spec: Spec
) -> None:
    spec = slice_spec(devices=[{"name": "a", "attributes": {"x": {"ints": [1, 2]}}}])
    with FakeApiServer() as server:
        reply = dial(server)("POST", SLICES, {"metadata": {"name": "s1"}, "spec": spec})
        assert reply.body["details"]["causes"][0]["field"] == "spec.devices[0].attributes[x]"
    with FakeApiServer(feature_gates={"DRAListTypeAttributes": True}) as server:
        post(dial(server), spec)


@pytest.mark.parametrize(
    ("gate", "changes"),
    [
        ("DRAOptionalNodeOperations", {"skipNodeOperations": ["*"]}),
        ("DRAPartitionableDevicesType", {"partitionTypeAttribute": "intel.com/type"}),
    ],
)
def test_alpha_fields_of_the_spec(dial: Call, slice_spec: Spec, gate: str, changes: dict[str, Any]) -> None:
    with FakeApiServer(version="1.37") as server:
        assert set(changes) & set(post(dial(server), slice_spec(**changes))["spec"]) == set()
    with FakeApiServer(version="1.37", feature_gates={gate: True}) as server:
        assert changes.items() <= post(dial(server), slice_spec(**changes))["spec"].items()


def test_fields_in_use_survive_an_update(dial: Call, slice_spec: Spec) -> None:
    taint = {"key": "k", "effect": "None", "timeAdded": "2026-01-01T00:00:00Z"}
    with FakeApiServer(feature_gates={"DRADeviceTaints": False}) as server:
        # As if the gate had been on before: written past the gate.
        resource = server._resource("ResourceSlice")
        spec = slice_spec(devices=[{"name": "a", "taints": [taint]}])
        server.put("ResourceSlice", {"metadata": {"name": "s1"}, "spec": slice_spec()})
        stored = server._store.get(resource, ("", "s1"))
        assert stored is not None
        server._store.put(resource, ("", "s1"), {**stored, "spec": spec})
        item = dial(server)("GET", f"{SLICES}/s1").body
        item["spec"]["pool"]["generation"] = 2
        assert dial(server)("PUT", f"{SLICES}/s1", item).body["spec"]["devices"][0]["taints"] == [taint]


@pytest.mark.parametrize(
    ("version", "gate", "on"),
    [
        ("1.34", "DRADeviceTaints", False),
        ("1.35", "DRAConsumableCapacity", False),
        ("1.36", "DRADeviceTaints", True),
        ("1.36", "DRAPartitionableDevices", True),
        ("1.37", "DRAConsumableCapacity", True),
        ("1.37", "DRAListTypeAttributes", False),
        ("1.34", "DRAResourceClaimDeviceStatus", True),
    ],
)
def test_defaults_follow_the_version(version: str, gate: str, on: bool) -> None:  # noqa: FBT001 (a column)
    assert (gate in Features.of(version, {})) is on
    assert (gate in Features.of(version, {gate: not on})) is not on


def test_unknown_versions_and_gates_are_refused() -> None:
    with pytest.raises(ValueError, match=r"1\.32 is not imitated; one of 1\.34"):
        FakeApiServer(version="1.32")
    with pytest.raises(ValueError, match="unknown feature gates DRADeviceTaint; known: "):
        FakeApiServer(feature_gates={"DRADeviceTaint": True})
    assert [version for version in VERSIONS if Features.of(version, {}).early] == ["1.34"]
