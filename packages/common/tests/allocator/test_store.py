"""Allocating from what an API server holds, over HTTP and through its validation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dra_common.cluster import ClusterClient, connect
from dra_common.errors import Conflict
from dra_common.testing.allocator import Unsatisfiable, allocate_and_store
from dra_common.testing.apiserver import FakeApiServer
from dra_common.testing.objects import Object, claim, device, device_class, exactly, resource_slice

NODE, DRIVER = "node-a", "gpu.intel.com"
FAMILY = f'device.attributes["{DRIVER}"].family == "Data Center Flex"'


@pytest.fixture
def server() -> Iterator[FakeApiServer]:
    with FakeApiServer() as running:
        running.create("Node", {"metadata": {"name": NODE}})
        running.create("DeviceClass", device_class(DRIVER))
        devices = [device(name, {"family": "Data Center Flex"}, {"memory": "16Gi"}) for name in ("a", "b")]
        running.create("ResourceSlice", resource_slice(*devices, driver=DRIVER, node=NODE))
        yield running


@pytest.fixture
def api(server: FakeApiServer, tmp_path: Path) -> Iterator[ClusterClient]:
    client = connect(str(server.kubeconfig(tmp_path / "kubeconfig")))
    yield client
    client.close()


def stored(server: FakeApiServer, name: str, **fields: Any) -> Object:
    """Create a claim for one GPU; returns it as the server has it."""
    return dict(
        server.create("ResourceClaim", claim(exactly(FAMILY, device_class=DRIVER, **fields), name=name))
    )


def test_status_is_stored_with_its_consumer(server: FakeApiServer, api: ClusterClient) -> None:
    pod = {"name": "pod", "uid": "8a9cf5d3-6f7c-4ab5-9a6e-0d3c5b1f2a11"}
    tolerations = [{"operator": "Exists"}]
    outcome = allocate_and_store(api, stored(server, "one", tolerations=tolerations), node=NODE, pod=pod)
    assert not isinstance(outcome, Unsatisfiable)
    now = server.get("ResourceClaim", "one", "default")
    assert now is not None
    assert now == outcome
    assert now["status"]["reservedFor"] == [{"resource": "pods", **pod}]
    (result,) = now["status"]["allocation"]["devices"]["results"]
    assert (result["driver"], result["pool"], result["device"]) == (DRIVER, NODE, "a")


def test_next_claim_gets_what_is_left_and_the_last_is_told_why_not(
    server: FakeApiServer, api: ClusterClient
) -> None:
    for name in ("one", "two"):
        assert not isinstance(allocate_and_store(api, stored(server, name), node=NODE), Unsatisfiable)
    third = stored(server, "three")
    outcome = allocate_and_store(api, third, node=NODE)
    assert isinstance(outcome, Unsatisfiable)
    assert [reason.detail for reason in outcome.reasons[1:]] == [
        "is allocated to claim default/one",
        "is allocated to claim default/two",
    ]
    assert server.get("ResourceClaim", "three", "default") == third


def test_consumer_is_made_up_the_same_each_time(server: FakeApiServer, api: ClusterClient) -> None:
    outcomes = [allocate_and_store(api, stored(server, name), node=NODE) for name in ("one", "two")]
    consumers = [outcome["status"]["reservedFor"][0] for outcome in outcomes if isinstance(outcome, dict)]
    assert [consumer["name"] for consumer in consumers] == ["one-pod", "two-pod"]
    assert len({consumer["uid"] for consumer in consumers}) == 2


def test_claim_that_changed_meanwhile_is_not_overwritten(server: FakeApiServer, api: ClusterClient) -> None:
    old = stored(server, "one")
    server.put("ResourceClaim", {**old, "metadata": {**old["metadata"], "labels": {"new": "label"}}})
    with pytest.raises(Conflict):
        allocate_and_store(api, old, node=NODE)
    now = server.get("ResourceClaim", "one", "default")
    assert now is not None
    assert not now.get("status", {}).get("allocation")
