from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from dra_common.testing.apiserver import FakeApiServer

CLAIM = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/c"
Call = Callable[..., Any]

RESULT = {"request": "gpu", "driver": "gpu.intel.com", "pool": "n1", "device": "d0"}
PARAMETERS = {"apiVersion": "gpu.intel.com/v1", "kind": "X", "empty": "", "list": []}


def claim(**status: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "metadata": {"name": "c", "namespace": "default"},
        "spec": {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu.intel.com"}}]}},
    }
    return {**body, "status": status} if status else body


def allocation(*results: dict[str, Any]) -> dict[str, Any]:
    return {"devices": {"results": list(results)}}


@pytest.fixture
def allocated(server: FakeApiServer) -> dict[str, Any]:
    return server.create("ResourceClaim", claim(allocation=allocation(RESULT)))


def test_a_claim_is_created_without_status(call: Call) -> None:
    created = call("POST", CLAIM.removesuffix("/c"), claim(allocation=allocation(RESULT))).body
    assert "status" not in created
    assert "generation" not in created["metadata"]


def test_status_is_written_by_its_subresource_only(call: Call, allocated: dict[str, Any]) -> None:
    item = copy.deepcopy(allocated)
    item["status"]["reservedFor"] = [{"resource": "pods", "name": "p", "uid": "u"}]
    item["metadata"]["labels"] = {"a": "b"}
    after_put = call("PUT", CLAIM, item).body
    assert (after_put["status"], after_put["metadata"]["labels"]) == (allocated["status"], {"a": "b"})
    del item["metadata"]["resourceVersion"]
    item["metadata"]["labels"] = {"c": "d"}
    after_status = call("PUT", f"{CLAIM}/status", item).body
    assert after_status["status"]["reservedFor"] == item["status"]["reservedFor"]
    assert after_status["metadata"]["labels"] == {"a": "b"}
    assert call("GET", f"{CLAIM}/status").body == after_status


def test_the_spec_is_immutable(call: Call, allocated: dict[str, Any]) -> None:
    allocated["spec"]["devices"]["requests"][0]["name"] = "other"
    reply = call("PUT", CLAIM, allocated)
    assert (reply.status, reply.body["details"]["causes"][0]["field"]) == (422, "spec")
    assert "field is immutable" in reply.body["message"]


def test_an_allocation_is_immutable_but_can_be_taken_back(call: Call, allocated: dict[str, Any]) -> None:
    changed = copy.deepcopy(allocated)
    changed["status"]["allocation"]["devices"]["results"][0]["device"] = "d1"
    reply = call("PUT", f"{CLAIM}/status", changed)
    assert (reply.status, reply.body["details"]["causes"][0]["field"]) == (422, "status.allocation")
    del allocated["status"]
    freed = call("PUT", f"{CLAIM}/status", allocated).body
    assert "status" not in freed
    changed["metadata"]["resourceVersion"] = freed["metadata"]["resourceVersion"]
    assert call("PUT", f"{CLAIM}/status", changed).status == 200


def test_an_empty_allocation_is_an_allocation(call: Call, server: FakeApiServer) -> None:
    server.create("ResourceClaim", claim(allocation={"devices": {"results": []}}))
    assert call("GET", CLAIM).body["status"] == {"allocation": {}}


def test_opaque_parameters_are_untouched(server: FakeApiServer, call: Call) -> None:
    config = {"source": "FromClaim", "opaque": {"driver": "gpu.intel.com", "parameters": PARAMETERS}}
    server.create("ResourceClaim", claim(allocation={"devices": {"results": [RESULT], "config": [config]}}))
    (stored,) = call("GET", CLAIM).body["status"]["allocation"]["devices"]["config"]
    assert stored["opaque"]["parameters"] == PARAMETERS


def test_device_status_must_name_an_allocated_device(call: Call, allocated: dict[str, Any]) -> None:
    device = {"driver": "gpu.intel.com", "pool": "n1", "device": "d0"}
    good = copy.deepcopy(allocated)
    good["status"]["devices"] = [device]
    assert call("PUT", f"{CLAIM}/status", good).body["status"]["devices"] == [device]
    good["status"]["devices"] = [{**device, "device": "d1"}]
    del good["metadata"]["resourceVersion"]
    reply = call("PUT", f"{CLAIM}/status", good)
    assert (reply.status, reply.body["details"]["causes"][0]["field"]) == (422, "status.devices[0]")


def test_device_status_goes_with_the_allocation(
    server: FakeApiServer, call: Call, allocated: dict[str, Any]
) -> None:
    device = {"driver": "gpu.intel.com", "pool": "n1", "device": "d0"}
    server.put("ResourceClaim", claim(allocation=allocation(RESULT), devices=[device]))
    item = call("GET", CLAIM).body
    del item["status"]["allocation"]
    assert "status" not in call("PUT", f"{CLAIM}/status", item).body


@pytest.mark.parametrize(
    ("gate", "result"),
    [
        (
            "DRAConsumableCapacity",
            {"shareID": "6f1c9b2e-0000-4000-8000-000000000000", "consumedCapacity": {"m": "4Gi"}},
        )
    ],
)
def test_gates_of_results(dial: Call, gate: str, result: dict[str, Any]) -> None:
    for on, expected in ((True, {**RESULT, **result}), (False, RESULT)):
        with FakeApiServer(feature_gates={gate: on}) as server:
            server.create("ResourceClaim", claim(allocation=allocation({**RESULT, **result})))
            assert dial(server)("GET", CLAIM).body["status"]["allocation"]["devices"]["results"] == [expected]


def test_device_status_behind_a_gate(dial: Call) -> None:
    device = {"driver": "gpu.intel.com", "pool": "n1", "device": "d0"}
    with FakeApiServer(feature_gates={"DRAResourceClaimDeviceStatus": False}) as server:
        server.create("ResourceClaim", claim(allocation=allocation(RESULT), devices=[device]))
        assert "devices" not in dial(server)("GET", CLAIM).body["status"]


@pytest.mark.parametrize(
    ("requests", "field"),
    [
        ([{"name": "A", "exactly": {}}], "spec.devices.requests[0].name"),
        ([{"name": "a", "exactly": {}}] * 2, "spec.devices.requests[1].name"),
        ([{"name": "a"}], "spec.devices.requests[0]"),
        ([{"name": f"a{n}", "exactly": {}} for n in range(33)], "spec.devices.requests"),
    ],
)
def test_requests_are_checked(call: Call, requests: list[dict[str, Any]], field: str) -> None:
    body = {"metadata": {"name": "c"}, "spec": {"devices": {"requests": requests}}}
    reply = call("POST", CLAIM.removesuffix("/c"), body)
    assert (reply.status, [cause["field"] for cause in reply.body["details"]["causes"]]) == (422, [field])


@pytest.mark.parametrize(
    ("status", "field"),
    [
        ({"allocation": allocation(*[RESULT] * 33)}, "status.allocation.devices.results"),
        ({"allocation": allocation({"request": "r"})}, "status.allocation.devices.results[0].driver"),
        ({"reservedFor": [{"name": str(n)} for n in range(257)]}, "status.reservedFor"),
        (
            {"allocation": {"devices": {"config": [{"source": "FromClass"}] * 65}}},
            "status.allocation.devices.config",
        ),
    ],
)
def test_the_status_is_checked(call: Call, server: FakeApiServer, status: dict[str, Any], field: str) -> None:
    item = server.create("ResourceClaim", claim())
    reply = call("PUT", f"{CLAIM}/status", {**item, "status": status})
    assert (reply.status, reply.body["details"]["causes"][0]["field"]) == (422, field)
