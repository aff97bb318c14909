from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from dra_common.testing.apiserver import FakeApiServer

SLICES = "/apis/resource.k8s.io/v1/resourceslices"
Call = Callable[..., Any]
Spec = Callable[..., dict[str, Any]]


def devices(count: int, **extra: Any) -> list[dict[str, Any]]:
    return [{"name": f"d{number}", **extra} for number in range(count)]


def counter_set(name: str, count: int = 1) -> dict[str, Any]:
    return {"name": name, "counters": {f"c{number}": {"value": "1"} for number in range(count)}}


CONSUMES = [{"counterSet": "a", "counters": {"mode": {"value": "1"}}}]
TAINT = {"key": "k", "effect": "NoSchedule"}

ACCEPTED = [
    {},
    {"devices": devices(128)},
    {"devices": devices(64, taints=[TAINT])},
    {"devices": devices(64, consumesCounters=CONSUMES)},
    {"sharedCounters": [counter_set(f"s{number}", 32) for number in range(8)]},
    {"pool": {"name": "n1/a.b", "resourceSliceCount": 2}},
    {"nodeName": None, "allNodes": True},
    {"nodeName": None, "nodeSelector": {"nodeSelectorTerms": [{"matchExpressions": []}]}},
    {"nodeName": None, "perDeviceNodeSelection": True, "devices": devices(2, nodeName="n1")},
]

REFUSED = [
    ({"driver": None}, "spec.driver", "Required"),
    ({"driver": "a_b"}, "spec.driver", "Invalid"),
    ({"driver": "a" * 64}, "spec.driver", "TooLong"),
    ({"pool": None}, "spec.pool.name", "Required"),
    ({"pool": {"name": "a//b", "resourceSliceCount": 1}}, "spec.pool.name", "Invalid"),
    ({"pool": {"name": "a", "resourceSliceCount": 1, "generation": -1}}, "spec.pool.generation", "Invalid"),
    ({"pool": {"name": "a"}}, "spec.pool.resourceSliceCount", "Invalid"),
    ({"nodeName": None}, "spec", "Required"),
    ({"nodeName": ""}, "spec.nodeName", "Invalid"),
    ({"allNodes": True}, "spec", "Invalid"),
    ({"nodeName": None, "allNodes": False}, "spec.allNodes", "Invalid"),
    (
        {"nodeName": None, "nodeSelector": {"nodeSelectorTerms": [{}, {}]}},
        "spec.nodeSelector.nodeSelectorTerms",
        "Invalid",
    ),
    ({"devices": devices(129)}, "spec.devices", "TooMany"),
    ({"devices": devices(65, taints=[TAINT])}, "spec.devices", "TooMany"),
    ({"devices": [*devices(64), {"name": "x", "consumesCounters": CONSUMES}]}, "spec.devices", "TooMany"),
    ({"devices": [{"name": "a"}, {"name": "a"}]}, "spec.devices[1].name", "Duplicate"),
    ({"devices": [{"name": "0000:03:00.0"}]}, "spec.devices[0].name", "Invalid"),
    ({"devices": devices(1), "sharedCounters": [counter_set("a")]}, "spec", "Invalid"),
    ({"sharedCounters": [counter_set(f"s{n}") for n in range(9)]}, "spec.sharedCounters", "TooMany"),
    ({"sharedCounters": [counter_set("a", 33)]}, "spec.sharedCounters[0].counters", "TooMany"),
    ({"sharedCounters": [counter_set("a", 0)]}, "spec.sharedCounters[0].counters", "Required"),
    ({"sharedCounters": [counter_set("A")]}, "spec.sharedCounters[0].name", "Invalid"),
    ({"sharedCounters": [counter_set("a"), counter_set("a")]}, "spec.sharedCounters[1].name", "Duplicate"),
    (
        {"sharedCounters": [{"name": "a", "counters": {"x": {}}}]},
        "spec.sharedCounters[0].counters[x].value",
        "Required",
    ),
]


@pytest.mark.parametrize("changes", ACCEPTED)
def test_accepts(post_slice: Call, changes: dict[str, Any]) -> None:
    reply = post_slice(**changes)
    assert reply.status == 201, reply.body


@pytest.mark.parametrize(("changes", "field", "reason"), REFUSED)
def test_refuses_and_names_the_field(
    server: FakeApiServer, post_slice: Call, changes: dict[str, Any], field: str, reason: str
) -> None:
    reply = post_slice(**changes)
    assert (reply.status, reply.body["reason"]) == (422, "Invalid")
    causes = [(cause["field"], cause["reason"]) for cause in reply.body["details"]["causes"]]
    assert (field, f"FieldValue{reason}") in causes
    assert reply.body["message"].startswith('ResourceSlice.resource.k8s.io "s1" is invalid: ')
    assert field in reply.body["message"]
    assert server.objects("ResourceSlice") == ()


def test_all_broken_rules_are_listed(post_slice: Call) -> None:
    reply = post_slice(driver=None, nodeName=None)
    assert [cause["field"] for cause in reply.body["details"]["causes"]] == ["spec.driver", "spec"]
    assert re.search(r"is invalid: \[.*, .*\]$", reply.body["message"])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"driver": "other.com"}, "spec.driver"),
        ({"pool": {"name": "other", "resourceSliceCount": 1}}, "spec.pool.name"),
        ({"nodeName": "n2"}, "spec.nodeName"),
        ({"nodeName": None, "allNodes": True}, "spec.nodeName"),
    ],
)
def test_identity_is_immutable(
    call: Call, post_slice: Call, slice_spec: Spec, changes: dict[str, Any], field: str
) -> None:
    post_slice()
    reply = call("PUT", f"{SLICES}/s1", {"metadata": {"name": "s1"}, "spec": slice_spec(**changes)})
    assert [cause["field"] for cause in reply.body["details"]["causes"]] == [field]
    assert "field is immutable" in reply.body["message"]


def test_wrong_types_are_a_bad_request(post_slice: Call) -> None:
    reply = post_slice(devices=[{"name": 7}])
    assert (reply.status, reply.body["reason"]) == (400, "BadRequest")
    assert "spec.devices[0].name" in reply.body["message"]


def test_what_is_stored_is_canonical(post_slice: Call) -> None:
    device = {
        "name": "a",
        "attributes": {"model": {"string": ""}, "numa": {"int": 0}},
        "capacity": {"memory": {"value": "16384Mi"}, "slots": {"value": 1000}},
        "taints": [],
        "typo": True,
    }
    stored = post_slice(devices=[device], nodeSelecter={}).body["spec"]
    assert stored["devices"] == [
        {
            "name": "a",
            "attributes": {"model": {"string": ""}, "numa": {"int": 0}},
            "capacity": {"memory": {"value": "16Gi"}, "slots": {"value": "1k"}},
        }
    ]
    assert set(stored) == {"driver", "pool", "nodeName", "devices"}


def test_the_server_dates_taints(call: Call, post_slice: Call) -> None:
    given = {**TAINT, "timeAdded": "2026-01-02T03:04:05.678Z"}
    item = post_slice(devices=[{"name": "a", "taints": [TAINT, given]}]).body
    first, second = (taint["timeAdded"] for taint in item["spec"]["devices"][0]["taints"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", first)
    assert second == "2026-01-02T03:04:05Z"
    assert call("PUT", f"{SLICES}/s1", item).body == item


def test_the_limits_of_1_34_are_others(dial: Call, slice_spec: Spec) -> None:
    def status(http: Call, **changes: Any) -> int:
        body = {"metadata": {"generateName": "s"}, "spec": slice_spec(**changes)}
        return int(http("POST", SLICES, body).status)

    gates = {"DRADeviceTaints": True, "DRAPartitionableDevices": True}
    with FakeApiServer(version="1.34", feature_gates=gates) as server:
        http = dial(server)
        assert status(http, devices=devices(1), sharedCounters=[counter_set("a")]) == 201
        assert status(http, devices=devices(128, taints=[TAINT])) == 201
        assert status(http, sharedCounters=[counter_set("a", 16), counter_set("b", 17)]) == 422
        assert status(http, devices=devices(1, taints=[{**TAINT, "key": f"k{n}"} for n in range(5)])) == 422


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"skipNodeOperations": ["Prepare"]}, "spec.skipNodeOperations[0]"),
        ({"skipNodeOperations": ["NodePrepareResources"]}, "spec.skipNodeOperations"),
        ({"partitionTypeAttribute": "type"}, "spec.partitionTypeAttribute"),
    ],
)
def test_alpha_fields_of_1_37(dial: Call, slice_spec: Spec, changes: dict[str, Any], field: str) -> None:
    gates = {"DRAOptionalNodeOperations": True, "DRAPartitionableDevicesType": True}
    with FakeApiServer(version="1.37", feature_gates=gates) as server:
        http = dial(server)
        reply = http("POST", SLICES, {"metadata": {"name": "a"}, "spec": slice_spec(**changes)})
        assert [cause["field"] for cause in reply.body["details"]["causes"]] == [field]
        good = slice_spec(
            skipNodeOperations=["NodePrepareResources", "NodeUnprepareResources"],
            partitionTypeAttribute="intel.com/t",
        )
        assert http("POST", SLICES, {"metadata": {"name": "a"}, "spec": good}).status == 201
