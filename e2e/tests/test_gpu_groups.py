"""A claim of a group of pods: gates that are off by default, so a test of its own."""

import pytest
from harness.driver import Driver, exactly, template
from harness.gpu_pods import CLAIMS, allocated, nodes_of, seen
from harness.namespace import Namespace, pod_manifest

GATES = ("GenericWorkload", "DRAWorkloadResourceClaims")
API = "scheduling.k8s.io/v1beta1"
PODS = ("first", "second")
ONE = {"gpu": {"resourceClaimTemplateName": "one"}}


@pytest.mark.scenario(40)
def test_a_claim_of_a_group_of_pods_is_prepared_like_any_other(gpus: Driver, namespace: Namespace) -> None:
    cluster = gpus.cluster
    if GATES[1] not in cluster.run("kube-apiserver", "--help"):
        # Such a version has no groups either.
        assert GATES[0] not in cluster.run("kube-apiserver", "--help")
        return
    with cluster.feature_gates({API: True}, **dict.fromkeys(GATES, True)):
        gpus.wait_published()
        share_a_claim(gpus, namespace)
        # The gates take the groups with them.
        cluster.api.delete(namespace.path(f"{API}/podgroups", "ring"))
    gpus.wait_published()


def share_a_claim(gpus: Driver, namespace: Namespace) -> None:
    """Two pods of a group have one GPU, reserved for the group, until the last of them ends."""
    api = namespace.cluster.api
    group = {
        "apiVersion": API,
        "kind": "PodGroup",
        "metadata": {"name": "ring"},
        "spec": {"schedulingPolicy": {"basic": {}}, "resourceClaims": [{"name": "gpu", **ONE["gpu"]}]},
    }
    namespace.apply(template("one", exactly()), group)
    for name in PODS:
        namespace.run_pod(pod_manifest(name, claims=ONE, schedulingGroup={"podGroupName": "ring"}))
    (made,) = api.items(namespace.path(CLAIMS))
    (user,) = made["status"]["reservedFor"]
    assert (user["resource"], user["name"]) == ("podgroups", "ring")
    own = nodes_of(gpus, *allocated(made))
    assert seen(namespace, "first") == seen(namespace, "second") == own
    uid = made["metadata"]["uid"]
    namespace.delete_pod("first")
    assert set(gpus.records()) == {uid}
    namespace.delete_pod("second")
    gpus.wait_idle()
