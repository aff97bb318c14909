"""What the driver may do on its node and in the cluster: all that it needs, and nothing else."""

import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

import grpc
import pytest
from dra_common.kubelet._generated import dra_v1_pb2, dra_v1_pb2_grpc
from harness.api import Json
from harness.driver import DRIVER, SLICES, Driver, exactly, template
from harness.namespace import Namespace, pod_manifest
from harness.node import NAME
from harness.waiting import wait_for

ONE = {"gpu": {"resourceClaimTemplateName": "one"}}


def a_slice(name: str, *, node: str = NAME, driver: str = DRIVER, pool: str = "other") -> Json:
    spec = {
        "driver": driver,
        "nodeName": node,
        "pool": {"name": pool, "generation": 1, "resourceSliceCount": 1},
        "devices": [],
    }
    return {"metadata": {"name": name}, "spec": spec}


@pytest.mark.scenario(62, 71)
def test_every_call_of_the_driver_was_allowed_and_every_right_was_used(
    gpus: Driver, namespace: Namespace
) -> None:
    begun = len(gpus.cluster.audit())
    account = f"system:serviceaccount:{gpus.namespace}:{gpus.daemonset}"
    namespace.apply(template("one", exactly()))
    restart(gpus)
    namespace.run_pod(pod_manifest("user", claims=ONE))
    put_right(gpus)
    damage_a_record_twice(gpus)
    granted = set(rights(gpus))

    def used() -> bool:
        calls = [event for event in gpus.cluster.audit()[begun:] if event["user"].get("username") == account]
        denied = [call for call in calls if call.get("responseStatus", {}).get("code") in (401, 403)]
        assert not denied, json.dumps(denied[:3])
        asked = {
            (call["objectRef"].get("apiGroup", ""), call["objectRef"]["resource"], call["verb"])
            for call in calls
            if "objectRef" in call
        }
        assert granted <= asked, f"never used: {sorted(granted - asked)}"
        assert asked <= granted, f"not granted: {sorted(asked - granted)}"
        return True

    wait_for(used, "every right of the driver to be used", 60)


def restart(gpus: Driver) -> None:
    """Make it do all that it does at a start."""
    pod = gpus.pod()["metadata"]
    gpus.cluster.api.delete(f"/api/v1/namespaces/{gpus.namespace}/pods/{pod['name']}")
    wait_for(lambda: gpus.wait_ready()["metadata"]["uid"] != pod["uid"], "another pod of the driver")


def put_right(gpus: Driver) -> None:
    """Disturb the slices, so that one is made, one is changed and one is removed by the driver."""
    api = gpus.cluster.api
    (slice_,) = gpus.slices()
    api.delete(f"{SLICES}/{slice_['metadata']['name']}")
    (slice_,) = wait_for(gpus.slices, "the slice to be made again")
    wanted = slice_["spec"]["devices"]
    slice_["spec"]["devices"] = wanted[:1]
    api.replace(f"{SLICES}/{slice_['metadata']['name']}", slice_)
    wait_for(lambda: len(gpus.devices()) == len(wanted), "the slice to be as it was", 60)
    api.create(SLICES, a_slice("obsolete", pool=NAME))
    wait_for(lambda: api.find(f"{SLICES}/obsolete") is None, "what somebody else wrote to be removed", 60)


def damage_a_record_twice(gpus: Driver) -> None:
    """Give the driver something to tell of, and then the same once more."""
    uid = "6f1d2c0a-8b7e-4c55-9d21-3f0a4b5c6d7e"
    with calling(gpus) as plugin:
        for _ in range(2):
            (gpus.data / "claims" / f"{uid}.json").write_text("{}")
            claim = dra_v1_pb2.Claim(namespace="default", name="damaged", uid=uid)
            answer = plugin.NodeUnprepareResources(
                dra_v1_pb2.NodeUnprepareResourcesRequest(claims=[claim]), timeout=30
            )
            assert answer.claims[uid].error == ""


@contextmanager
def calling(gpus: Driver) -> Iterator[dra_v1_pb2_grpc.DRAPluginStub]:
    """Call the driver as the kubelet does."""
    (path,) = gpus.data.glob("dra*.sock")
    # By way of the folder's descriptor: a path of a socket has at most 107 bytes.
    folder = os.open(path.parent, os.O_PATH)
    try:
        with closing(grpc.insecure_channel(f"unix:/proc/self/fd/{folder}/{path.name}")) as channel:
            yield dra_v1_pb2_grpc.DRAPluginStub(channel)  # type: ignore[no-untyped-call]
    finally:
        os.close(folder)


def rights(gpus: Driver) -> Iterator[tuple[str, str, str]]:
    """API group, resource and verb of everything that the chart allows the driver."""
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    selector = f"app.kubernetes.io/instance={gpus.name}"
    for plural in ("clusterroles", "roles"):
        for role in gpus.cluster.api.items(f"{rbac}/{plural}", labelSelector=selector):
            for rule in role["rules"]:
                yield from (
                    (group, resource, verb)
                    for group in rule["apiGroups"]
                    for resource in rule["resources"]
                    for verb in rule["verbs"]
                )
