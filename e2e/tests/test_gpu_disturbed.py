"""What goes away while pods have GPUs: the kubelet, the driver, the API server, a claim, the whole node."""

import fcntl
from datetime import datetime
from pathlib import Path

import pytest
from harness.api import Json
from harness.driver import GRACE, Driver, claim, exactly, template
from harness.gpu_pods import (
    CLAIMS,
    NO_DRIVER_BEHIND,
    allocated,
    claim_of,
    nodes_of,
    open_error,
    seen,
)
from harness.namespace import Namespace, pod_manifest
from harness.waiting import wait_for

ONE = {"gpu": {"resourceClaimTemplateName": "one"}}
SHARED = {"gpu": {"resourceClaimName": "shared"}}
# A script that ends well once its volume has a file, without anybody asking the API server.
UNTIL_TOLD = "until [ -e /told/end ]; do sleep 0.1; done"
FAILED_PREPARE = "FailedPrepareDynamicResources"
CALL = 45
"""Seconds that a kubelet waits for a driver's answer."""


def objects(slices: list[Json]) -> set[tuple[str, str, str]]:
    """What changes of a slice when it is written or made again."""
    return {(m["name"], m["uid"], m["resourceVersion"]) for m in (each["metadata"] for each in slices)}


def names(slices: list[Json]) -> set[str]:
    return {each["metadata"]["name"] for each in slices}


def back_after(gpus: Driver) -> float:
    """Seconds from the kubelet's wiping the slices to the driver's making the first one again."""
    calls = [
        each for each in gpus.cluster.audit() if each.get("objectRef", {}).get("resource") == "resourceslices"
    ]
    wiped = max(at(each) for each in calls if each["verb"] == "deletecollection")
    return min(at(each) for each in calls if each["verb"] == "create" and at(each) > wiped) - wiped


def at(call: Json) -> float:
    return datetime.fromisoformat(call["stageTimestamp"]).timestamp()


def files(gpus: Driver, uid: str) -> dict[str, str]:
    return {path.name: path.read_text() for path in gpus.specs(uid)}


def works(gpus: Driver, namespace: Namespace, pod: str) -> None:
    """A pod has the GPUs of its claim, and may open them."""
    own = nodes_of(gpus, *allocated(claim_of(namespace, pod)))
    assert own
    assert seen(namespace, pod) == own
    assert open_error(namespace, pod, f"/dev/dri/{min(own)}") == NO_DRIVER_BEHIND


def started(namespace: Namespace, pod: str) -> tuple[str, int]:
    (status,) = namespace.pod(pod)["status"]["containerStatuses"]
    return status["containerID"], status["restartCount"]


@pytest.mark.scenario(2, 17, 59)
def test_the_kubelet_restarts_under_a_pod(gpus: Driver, namespace: Namespace) -> None:
    namespace.apply(template("one", exactly()))
    namespace.run_pod(pod_manifest("steady", claims=ONE))
    uid = claim_of(namespace, "steady")["metadata"]["uid"]
    slices = names(gpus.slices())
    before = files(gpus, uid), gpus.records()[uid], started(namespace, "steady")
    gpus.cluster.control.kill("kubelet")
    gpus.cluster.control.start("kubelet")
    wait_for(lambda: not slices & names(gpus.slices()), "the kubelet to wipe the slices at its start")
    gpus.wait_published()
    assert back_after(gpus) < 2
    # It registers the driver again, and asks again for what its pods have.
    namespace.run_pod(pod_manifest("later", claims=ONE))
    assert (files(gpus, uid), gpus.records()[uid], started(namespace, "steady")) == before
    works(gpus, namespace, "steady")
    namespace.delete_pod("steady")
    assert uid not in gpus.records()


@pytest.mark.scenario(19)
def test_a_pod_is_made_while_the_kubelet_is_down(gpus: Driver, namespace: Namespace) -> None:
    namespace.apply(template("one", exactly()))
    gpus.cluster.control.stop("kubelet")
    try:
        namespace.create_pod(pod_manifest("early", claims=ONE))
        wait_for(lambda: "nodeName" in namespace.pod("early")["spec"], "the scheduler to choose the node")
    finally:
        gpus.cluster.control.start("kubelet")
    namespace.wait_ready("early", 150)
    works(gpus, namespace, "early")


@pytest.mark.scenario(22)
def test_the_kubelet_restarts_during_a_prepare(gpus: Driver, namespace: Namespace) -> None:
    namespace.apply(template("one", exactly(count=2)))
    state = gpus.cluster.path("/var/lib/kubelet/dra_manager_state")
    with gpus.frozen():
        namespace.create_pod(pod_manifest("eager", claims=ONE))
        # The kubelet writes down what it asks for before it asks.
        wait_for(lambda: namespace.name in state.read_text(), "the kubelet to ask for the claim")
        gpus.cluster.control.kill("kubelet")
    gpus.cluster.control.start("kubelet")
    namespace.wait_ready("eager", 150)
    works(gpus, namespace, "eager")
    uid = claim_of(namespace, "eager")["metadata"]["uid"]
    assert set(gpus.records()) == set(gpus.held().values()) == {uid}
    namespace.delete_pod("eager")
    gpus.wait_idle()


@pytest.mark.scenario(20)
def test_a_prepare_that_outlasts_the_kubelets_patience(gpus: Driver, namespace: Namespace) -> None:
    namespace.apply(claim("slow", exactly()))
    uid = namespace.cluster.api.get(namespace.path(CLAIMS, "slow"))["metadata"]["uid"]
    # Whoever works on a claim holds this lock; the driver waits for it as long as the kubelet waits for the driver.
    with (gpus.data / "claims" / f"{uid}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        namespace.create_pod(pod_manifest("slow", claims={"gpu": {"resourceClaimName": "slow"}}))
        why = namespace.wait_event("slow", FAILED_PREPARE, CALL + 45)
        assert "still locked by another call at the deadline of this one" in why
        assert namespace.pod("slow")["status"]["phase"] == "Pending"
        assert (gpus.records(), gpus.held(), gpus.specs()) == ({}, {}, [])
    namespace.wait_ready("slow", 150)
    works(gpus, namespace, "slow")
    (given,) = allocated(claim_of(namespace, "slow"))
    assert gpus.held() == {given: uid}
    assert set(gpus.records()) == {uid}
    namespace.delete_pod("slow")
    gpus.wait_idle()


@pytest.mark.scenario(3, 18)
def test_the_driver_is_killed_between_prepare_and_unprepare(gpus: Driver, namespace: Namespace) -> None:
    namespace.apply(claim("shared", exactly()))
    namespace.run_pod(pod_manifest("first", claims=SHARED))
    slices, records = objects(gpus.slices()), gpus.records()
    (uid,) = records
    specs = files(gpus, uid)
    container = gpus.container()
    gpus.kill()
    wait_for(lambda: gpus.container(gpus.wait_ready()) != container, "the kubelet to start the driver again")
    assert (objects(gpus.slices()), gpus.records(), files(gpus, uid)) == (slices, records, specs)
    works(gpus, namespace, "first")
    namespace.run_pod(pod_manifest("second", claims=SHARED))
    works(gpus, namespace, "second")
    for name in ("first", "second"):
        namespace.delete_pod(name)
    gpus.wait_idle()


@pytest.mark.scenario(45, 47, 57, 60)
def test_a_pod_is_deleted_while_the_driver_is_away_for_long(gpus: Driver, namespace: Namespace) -> None:
    namespace.apply(template("one", exactly()))
    namespace.run_pod(pod_manifest("left", claims=ONE))
    namespace.run_pod(pod_manifest("forced", claims=ONE))
    records = gpus.records()
    api = gpus.cluster.api
    with gpus.away():
        api.delete(namespace.path("pods", "left"))
        api.delete(namespace.path("pods", "forced"), gracePeriodSeconds=0)
        wait_for(lambda: not gpus.slices(), "the kubelet to wipe the slices", GRACE + 30)
        # The kubelet has nobody to ask, so the pod stays; nothing of the claims is lost.
        assert "deletionTimestamp" in namespace.pod("left")["metadata"]
        assert gpus.records() == records
    gpus.wait_published()
    # It asks again after a pause of its own, for pods that are gone once a minute.
    wait_for(lambda: api.find(namespace.path("pods", "left")) is None, "the pod to be gone", 150)
    gpus.wait_idle(timeout=150)
    namespace.run_pod(pod_manifest("next", claims=ONE))
    works(gpus, namespace, "next")


@pytest.mark.scenario(23, 44)
def test_the_driver_is_cut_off_from_the_api_server(gpus: Driver, namespace: Namespace) -> None:
    namespace.apply(template("one", exactly()))
    namespace.run_pod(pod_manifest("before", claims=ONE))
    with gpus.cut_off():
        namespace.create_pod(pod_manifest("during", claims=ONE))
        why = namespace.wait_event("during", FAILED_PREPARE)
        assert "API server" in why
        assert len(gpus.records()) == 1
        namespace.delete_pod("before")
        gpus.wait_idle()
    # The kubelet tries again by itself.
    namespace.wait_ready("during", 150)
    works(gpus, namespace, "during")


@pytest.mark.scenario(44)
def test_a_pod_ends_while_the_api_server_is_down(gpus: Driver, namespace: Namespace) -> None:
    namespace.apply(template("one", exactly()))
    told = {"name": "told", "emptyDir": {}}
    manifest = pod_manifest("job", UNTIL_TOLD, claims=ONE, volumes=[told], restartPolicy="Never")
    manifest["spec"]["containers"][0]["volumeMounts"] = [{"name": "told", "mountPath": "/told"}]
    pod = namespace.run_pod(manifest)
    works(gpus, namespace, "job")
    slices = objects(gpus.slices())
    cluster = gpus.cluster
    cluster.control.kill("kube-apiserver")
    try:
        volumes = Path("/var/lib/kubelet/pods", pod["metadata"]["uid"], "volumes")
        (cluster.path(str(volumes / "kubernetes.io~empty-dir/told")) / "end").touch()
        gpus.wait_idle(timeout=60)
    finally:
        cluster.control.start("kube-apiserver")
    namespace.wait_phase("job", "Succeeded")
    namespace.run_pod(pod_manifest("after", claims=ONE))
    works(gpus, namespace, "after")
    assert objects(gpus.slices()) == slices


@pytest.mark.scenario(38, 43)
def test_a_claim_is_deleted_by_force_and_made_again(gpus: Driver, namespace: Namespace) -> None:
    api = gpus.cluster.api
    namespace.apply(claim("shared", exactly(count=2)))
    stubborn = pod_manifest("user", "trap : TERM; while :; do sleep 1000 & wait; done", claims=SHARED)
    stubborn["spec"]["terminationGracePeriodSeconds"] = 5
    namespace.run_pod(stubborn)
    old = claim_of(namespace, "user")["metadata"]["uid"]
    path = namespace.path(CLAIMS, "shared")
    # Without the kubelet's knowing, so that the old claim is still prepared when the new one is wanted.
    with gpus.paused("kubelet"):
        api.delete(namespace.path("pods", "user"), gracePeriodSeconds=0)
        api.delete(path)
        wait_for(lambda: api.find(path) is None, "the old claim to be gone")
        namespace.apply(claim("shared", exactly(count=2)))
        namespace.create_pod(pod_manifest("user", claims=SHARED))
        wait_for(lambda: allocated(claim_of(namespace, "user")), "the new claim to be allocated")
        assert set(gpus.held().values()) == {old}
    namespace.wait_ready("user", 150)
    works(gpus, namespace, "user")
    uid = claim_of(namespace, "user")["metadata"]["uid"]
    assert uid != old
    assert set(gpus.records()) == {uid}
    assert set(gpus.held().values()) == {uid}
    assert gpus.specs(old) == []


@pytest.mark.scenario(18)
def test_the_node_boots_with_pods_that_have_gpus(gpus: Driver, namespace: Namespace) -> None:
    namespace.apply(template("one", exactly()))
    namespace.run_pod(pod_manifest("survivor", claims=ONE))
    made = claim_of(namespace, "survivor")
    uid = made["metadata"]["uid"]
    before, boot = started(namespace, "survivor"), gpus.records()[uid]["boot_id"]
    specs = files(gpus, uid)
    slices = {each["metadata"]["uid"] for each in gpus.slices()}
    gpus.cluster.reboot()

    def again() -> bool:
        now = started(namespace, "survivor")
        assert now[0] != before[0], now
        return True

    wait_for(again, "the pod's container to be started again", 150)
    namespace.wait_ready("survivor", 150)
    assert claim_of(namespace, "survivor")["metadata"]["uid"] == uid
    assert files(gpus, uid) == specs
    assert gpus.records()[uid]["boot_id"] != boot
    works(gpus, namespace, "survivor")
    gpus.wait_ready()
    gpus.wait_published()
    assert not slices & {each["metadata"]["uid"] for each in gpus.slices()}
    namespace.delete_pod("survivor", 150)
    gpus.wait_idle()
