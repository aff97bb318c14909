"""Pods that share one GPU: what the real scheduler gives, what the kubelet prepares, who waits."""

from collections.abc import Iterator

import pytest
from harness.api import Json
from harness.driver import DRIVER, Driver, exactly, template
from harness.gpu_pods import claim_of, nodes_of
from harness.namespace import Namespace, pod_manifest
from harness.waiting import wait_for

B60 = "0000-9a-00-0-0xe211"
ANY_B60 = f'device.attributes["{DRIVER}"].model == "B60"'
CLAIMS = {"gpu": {"resourceClaimTemplateName": "part"}}
MATCH = "config.devices[0].match.model=B60"
RULE = (MATCH, "config.devices[0].sharing.maxClients=2", "config.devices[0].sharing.memory.default=1Gi")
SYNC = 240.0
"""Seconds in which the kubelet brings a changed ConfigMap to a pod: its sync period, and its cache's."""


def result(namespace: Namespace, pod: str) -> Json:
    (found,) = claim_of(namespace, pod)["status"]["allocation"]["devices"]["results"]
    return dict(found)


def is_shared(gpus: Driver) -> bool:
    return bool(gpus.devices()[B60].get("allowMultipleAllocations"))


@pytest.fixture
def shared(gpus: Driver) -> Iterator[Driver]:
    """The driver, of which two claims can have one GPU at once."""
    gpus.change(*RULE)
    gpus.wait_ready()
    wait_for(lambda: '"clients"' in gpus.execute("gpu-driver", "slices"), "the configuration", SYNC)
    yield gpus
    gpus.change()
    gpus.wait_ready()
    wait_for(lambda: not is_shared(gpus), "the GPU to be given whole again", SYNC)


def test_two_pods_share_a_gpu_and_a_third_waits(shared: Driver, namespace: Namespace, minor: str) -> None:
    namespace.apply(template("part", exactly(ANY_B60)))
    if tuple(map(int, minor.split("."))) < (1, 36):
        # Without the feature gate a GPU is never offered to more than one claim.
        namespace.run_pod(pod_manifest("one", claims=CLAIMS))
        namespace.create_pod(pod_manifest("two", claims=CLAIMS))
        assert namespace.wait_event("two", "FailedScheduling")
        assert not is_shared(shared)
        return
    wait_for(lambda: is_shared(shared), "the GPU to be shared", SYNC)
    for name in ("one", "two"):
        namespace.run_pod(pod_manifest(name, claims=CLAIMS))
    one, two = (result(namespace, name) for name in ("one", "two"))
    assert one["device"] == two["device"] == B60
    assert one["shareID"] != two["shareID"]
    assert one["consumedCapacity"] == {"clients": "1", "memory": "1Gi", "millicores": "500"}
    for name in ("one", "two"):
        seen = namespace.execute(name, "ls", "/dev/dri").split()
        assert {each for each in seen if each != "by-path"} == nodes_of(shared, B60)
    assert shared.held() == {
        f"{B60}/{found['shareID']}": claim_of(namespace, name)["metadata"]["uid"]
        for name, found in (("one", one), ("two", two))
    }
    namespace.create_pod(pod_manifest("three", claims=CLAIMS))
    assert "cannot allocate all claims" in namespace.wait_event("three", "FailedScheduling")
    machine = exactly(ANY_B60, device_class="gpu-vfio.intel.com")
    namespace.apply(template("whole", machine))
    namespace.create_pod(pod_manifest("machine", claims={"gpu": {"resourceClaimTemplateName": "whole"}}))
    assert "cannot allocate all claims" in namespace.wait_event("machine", "FailedScheduling")
    namespace.delete_pod("machine")

    shared.kill()
    namespace.delete_pod("one")
    namespace.wait_ready("three")
    assert result(namespace, "three")["device"] == B60
    assert namespace.pod("two")["status"]["phase"] == "Running"
    for name in ("two", "three"):
        namespace.delete_pod(name)
    shared.wait_idle(60)


def test_a_gpu_is_given_whole_only_after_its_last_share_is_gone(
    shared: Driver, namespace: Namespace, minor: str
) -> None:
    if tuple(map(int, minor.split("."))) < (1, 36):
        assert not is_shared(shared)
        return
    wait_for(lambda: is_shared(shared), "the GPU to be shared", SYNC)
    namespace.apply(template("part", exactly(ANY_B60)))
    for name in ("one", "two"):
        namespace.run_pod(pod_manifest(name, claims=CLAIMS))
    shared.change(MATCH, "config.devices[0].publish=true")
    key = f"{DRIVER}/shared"

    def taints() -> list[str]:
        return [taint["key"] for taint in shared.devices()[B60].get("taints", ())]

    wait_for(lambda: key in taints(), "the taint of a GPU that is still shared", SYNC)
    namespace.create_pod(pod_manifest("late", claims=CLAIMS))
    namespace.delete_pod("one")
    assert namespace.wait_event("late", "FailedScheduling")
    assert key in taints()
    namespace.delete_pod("two")
    namespace.wait_ready("late", 120)
    assert "shareID" not in result(namespace, "late")
    assert not is_shared(shared)
    namespace.delete_pod("late")
    shared.wait_idle(60)
