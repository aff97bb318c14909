"""Pods and the GPUs they claimed: what they get, what they do not get, and what they cannot take."""

import json

import pytest
from harness.driver import DRIVER, Driver, claim, exact, exactly, template
from harness.gpu_pods import (
    CLAIMS,
    NO_DRIVER_BEHIND,
    NOT_ALLOWED,
    allocated,
    claim_of,
    make_node,
    nodes_of,
    number,
    open_error,
    seen,
)
from harness.namespace import Namespace, pod_manifest
from harness.node import NAME

ONE = {"gpu": {"resourceClaimTemplateName": "one"}}
FLEX, ARC = "0000-4d-00-0-0x56c0", "0000-9a-00-0-0xe211"
ADMIN = "resource.kubernetes.io/admin-access"


def test_the_chart_installs_and_kubectl_shows_what_is_published(gpus: Driver) -> None:
    cluster = gpus.cluster
    (row,) = cluster.kubectl("get", "resourceslices", "--no-headers").splitlines()
    assert row.split()[1:4] == [NAME, DRIVER, NAME]
    classes = cluster.kubectl("get", "deviceclasses", "-o", "name").split()
    names = (DRIVER, "gpu-vfio.intel.com", "gpu-vf.intel.com", "gpu-i915.intel.com", "gpu-xe.intel.com")
    assert set(classes) == {f"deviceclass.resource.k8s.io/{name}" for name in names}
    devices = gpus.devices()
    assert set(devices) == {FLEX, ARC}
    assert devices[ARC]["attributes"]["family"] == {"string": "Arc Pro B-Series"}
    assert devices[ARC]["capacity"]["memory"] == {"value": "24480Mi"}
    (slice_,) = gpus.slices()
    (owner,) = slice_["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("Node", NAME)


@pytest.mark.scenario(1, 16, 41)
def test_a_pod_gets_its_gpu_and_cannot_take_another(gpus: Driver, namespace: Namespace) -> None:
    namespace.apply(template("one", exactly()))
    namespace.run_pod(pod_manifest("worker", claims=ONE))
    (given,) = allocated(claim_of(namespace, "worker"))
    own = nodes_of(gpus, given)
    (other,) = set(gpus.devices()) - {given}
    assert seen(namespace, "worker") == own
    assert {open_error(namespace, "worker", f"/dev/dri/{node}") for node in own} == {NO_DRIVER_BEHIND}
    for node in nodes_of(gpus, other):
        make_node(namespace, "worker", f"/tmp/{node}", number(gpus, node))
        assert open_error(namespace, "worker", f"/tmp/{node}") == NOT_ALLOWED
    # The same file with the numbers of a GPU that was given shows that it is the numbers that are refused.
    node = min(own)
    make_node(namespace, "worker", "/tmp/mine", number(gpus, node))
    assert open_error(namespace, "worker", "/tmp/mine") == NO_DRIVER_BEHIND
    namespace.delete_pod("worker")
    gpus.wait_idle()


@pytest.mark.scenario(33)
def test_of_two_containers_one_gets_the_gpu(gpus: Driver, namespace: Namespace) -> None:
    namespace.apply(template("one", exactly()))
    containers = [
        pod_manifest("", claims=ONE)["spec"]["containers"][0]
        | {"name": name, "resources": {"claims": claims}}
        for name, claims in (("with", [{"name": "gpu"}]), ("without", []))
    ]
    namespace.run_pod(pod_manifest("pair", claims=ONE, containers=containers))
    own = nodes_of(gpus, *allocated(claim_of(namespace, "pair")))
    assert seen(namespace, "pair", "with") == own
    assert seen(namespace, "pair", "without") == set()
    make_node(namespace, "pair", "/tmp/taken", number(gpus, min(own)), "without")
    assert open_error(namespace, "pair", "/tmp/taken", "without") == NOT_ALLOWED


@pytest.mark.scenario(33)
def test_a_claim_that_no_container_uses_is_prepared(gpus: Driver, namespace: Namespace) -> None:
    namespace.apply(template("one", exactly()))
    container = pod_manifest("")["spec"]["containers"]
    namespace.run_pod(pod_manifest("holder", claims=ONE, containers=container))
    made = claim_of(namespace, "holder")
    assert gpus.held() == dict.fromkeys(allocated(made), made["metadata"]["uid"])
    assert seen(namespace, "holder") == set()


@pytest.mark.scenario(35)
def test_two_gpus_for_one_request(gpus: Driver, namespace: Namespace) -> None:
    namespace.apply(template("one", exactly(count=2)))
    namespace.run_pod(pod_manifest("both", claims=ONE))
    assert set(allocated(claim_of(namespace, "both"))) == {FLEX, ARC}
    assert seen(namespace, "both") == nodes_of(gpus, FLEX, ARC)


@pytest.mark.scenario(32, 35)
def test_requests_of_one_claim_reach_different_containers(gpus: Driver, namespace: Namespace) -> None:
    flex, arc = (
        f'device.attributes["{DRIVER}"].family == "{name}"'
        for name in ("Data Center Flex", "Arc Pro B-Series")
    )
    namespace.apply(template("one", exactly(flex, name="flex"), exactly(arc, name="arc")))
    base = pod_manifest("")["spec"]["containers"][0]
    containers = [
        base | {"name": name, "resources": {"claims": [{"name": "gpu", "request": name}]}}
        for name in ("flex", "arc")
    ]
    namespace.run_pod(pod_manifest("split", claims=ONE, containers=containers))
    assert seen(namespace, "split", "flex") == nodes_of(gpus, FLEX)
    assert seen(namespace, "split", "arc") == nodes_of(gpus, ARC)


@pytest.mark.parametrize(
    ("expression", "given"),
    [
        (f'device.attributes["{DRIVER}"].family == "Data Center Flex"', FLEX),
        (f'device.attributes["{DRIVER}"].model == "B60"', ARC),
        (f'device.capacity["{DRIVER}"].memory.compareTo(quantity("20Gi")) >= 0', ARC),
        (f'device.attributes["{DRIVER}"].driver == "i915"', FLEX),
        ('device.attributes["resource.kubernetes.io"].pcieRoot == "pci0000:97"', ARC),
    ],
    ids=["family", "model", "memory", "driver", "root"],
)
def test_a_selector_finds_its_gpu(gpus: Driver, namespace: Namespace, expression: str, given: str) -> None:
    namespace.apply(claim("wanted", exactly(expression)))
    namespace.run_pod(pod_manifest("picky", claims={"gpu": {"resourceClaimName": "wanted"}}))
    assert allocated(claim_of(namespace, "picky")) == [given]
    assert seen(namespace, "picky") == nodes_of(gpus, given)


@pytest.mark.scenario(32)
def test_the_first_alternative_that_there_is(gpus: Driver, namespace: Namespace) -> None:
    newer = exact(f'device.attributes["{DRIVER}"].family == "Data Center Max"')
    any_gpu = exact(f'device.attributes["{DRIVER}"].family == "Data Center Flex"')
    alternatives = [{"name": "max", **newer}, {"name": "flex", **any_gpu}]
    namespace.apply(template("one", {"name": "gpu", "firstAvailable": alternatives}))
    manifest = pod_manifest("content", claims=ONE)
    # The kubelet knows the request, not its alternatives.
    manifest["spec"]["containers"][0]["resources"]["claims"][0]["request"] = "gpu"
    namespace.run_pod(manifest)
    (result,) = claim_of(namespace, "content")["status"]["allocation"]["devices"]["results"]
    assert (result["request"], result["device"]) == ("gpu/flex", FLEX)
    assert seen(namespace, "content") == nodes_of(gpus, FLEX)


@pytest.mark.scenario(37)
def test_a_monitor_sees_all_gpus_beside_their_users(gpus: Driver, namespace: Namespace) -> None:
    namespace.cluster.api.merge(
        f"/api/v1/namespaces/{namespace.name}", {"metadata": {"labels": {ADMIN: "true"}}}
    )
    everything = exactly(allocationMode="All", adminAccess=True)
    namespace.apply(template("one", exactly()), template("all", everything))
    user = namespace.run_pod(pod_manifest("user", claims=ONE))
    held = gpus.held()
    namespace.run_pod(pod_manifest("monitor", claims={"gpu": {"resourceClaimTemplateName": "all"}}))
    assert seen(namespace, "monitor") == nodes_of(gpus, FLEX, ARC)
    assert gpus.held() == held
    namespace.run_pod(pod_manifest("second", claims=ONE))
    namespace.delete_pod("monitor")
    assert len(gpus.held()) == 2
    assert namespace.pod("user")["status"]["containerStatuses"] == user["status"]["containerStatuses"]
    assert seen(namespace, "user") == nodes_of(gpus, *allocated(claim_of(namespace, "user")))


@pytest.mark.scenario(39)
def test_an_extended_resource_is_a_gpu_if_the_server_knows_such(gpus: Driver, namespace: Namespace) -> None:
    container = pod_manifest("")["spec"]["containers"][0] | {"resources": {"limits": {"intel.com/gpu": "1"}}}
    if not gpus.has_extended_resources():
        namespace.create_pod(pod_manifest("classic", containers=[container]))
        assert "Insufficient intel.com/gpu" in namespace.wait_event("classic", "FailedScheduling")
        return
    namespace.run_pod(pod_manifest("classic", containers=[container]))
    (made,) = namespace.cluster.api.items(namespace.path(CLAIMS))
    (given,) = allocated(made)
    assert seen(namespace, "classic") == nodes_of(gpus, given)
    namespace.delete_pod("classic")
    gpus.wait_idle()


@pytest.mark.scenario(78)
def test_a_container_reads_where_its_gpu_is(gpus: Driver, namespace: Namespace) -> None:
    namespace.apply(template("one", exactly()))
    namespace.run_pod(pod_manifest("reader", claims=ONE))
    root = "/var/run/kubernetes.io/dra-device-attributes"
    shown = namespace.execute(
        "reader", "sh", "-c", f"cd {root} && find . -type f && find . -type f -exec cat {{}} +"
    )
    path, _, text = shown.partition("\n")
    assert path == "./resourceclaimtemplates/gpu/gpu/gpu.intel.com-metadata.json"
    read, _ = json.JSONDecoder().raw_decode(text)
    (device,) = read["requests"][0]["devices"]
    (given,) = allocated(claim_of(namespace, "reader"))
    assert device["name"] == given
    published = gpus.devices()[given]["attributes"]
    for name in ("resource.kubernetes.io/pciBusID", "resource.kubernetes.io/numaNode"):
        assert device["attributes"][name] == published[name]
    assert device["attributes"]["renderNode"]["string"].removeprefix("/dev/dri/") in nodes_of(gpus, given)
    said = namespace.execute("reader", "sh", "-c", f"(echo x > {root}/{path}) 2>&1; true")
    assert "Read-only file system" in said
    namespace.delete_pod("reader")
    gpus.wait_idle()
    # Of a claim with a name of its own, in those containers that use it.
    namespace.apply(claim("mine", exactly()))
    two = pod_manifest("two", claims={"gpu": {"resourceClaimName": "mine"}})
    (user,) = two["spec"]["containers"]
    two["spec"]["containers"].append(
        {key: user[key] for key in user if key != "resources"} | {"name": "other"}
    )
    namespace.run_pod(two)
    found = [
        namespace.execute("two", "sh", "-c", f"find {root} -type f 2>&1; true", container=name)
        for name in (user["name"], "other")
    ]
    assert found[0].split() == [f"{root}/resourceclaims/mine/gpu/gpu.intel.com-metadata.json"]
    assert "No such file" in found[1]
    namespace.delete_pod("two")
    namespace.cluster.api.delete(namespace.path(CLAIMS, "mine"))
    gpus.wait_idle()


@pytest.mark.scenario(14)
def test_the_kubelet_has_one_connection_however_many_pods_there_are(
    gpus: Driver, namespace: Namespace
) -> None:
    namespace.apply(template("one", exactly()))
    for round_ in range(2):
        pods = [pod_manifest(f"pod-{round_}-{index}", claims=ONE) for index in range(2)]
        namespace.apply(*pods)
        for pod in pods:
            namespace.wait_ready(pod["metadata"]["name"])
        assert gpus.connections() == 1
        for pod in pods:
            namespace.delete_pod(pod["metadata"]["name"])
        assert gpus.connections() == 1


@pytest.mark.scenario(34)
def test_a_claim_of_two_pods_lasts_until_the_last(gpus: Driver, namespace: Namespace) -> None:
    namespace.apply(claim("shared", exactly()))
    shared = {"gpu": {"resourceClaimName": "shared"}}
    for name in ("first", "last"):
        namespace.run_pod(pod_manifest(name, claims=shared))
    made = claim_of(namespace, "first")
    uid, own = made["metadata"]["uid"], nodes_of(gpus, *allocated(made))
    assert seen(namespace, "first") == seen(namespace, "last") == own
    namespace.delete_pod("first")
    assert set(gpus.records()) == {uid}
    assert open_error(namespace, "last", f"/dev/dri/{min(own)}") == NO_DRIVER_BEHIND
    namespace.delete_pod("last")
    gpus.wait_idle()


def test_a_claim_that_nothing_satisfies_waits_and_says_why(gpus: Driver, namespace: Namespace) -> None:
    namespace.apply(template("one", exactly(count=3)))
    namespace.create_pod(pod_manifest("greedy", claims=ONE))

    assert "cannot allocate all claims" in namespace.wait_event("greedy", "FailedScheduling")
    assert namespace.pod("greedy")["status"]["phase"] == "Pending"
    assert allocated(claim_of(namespace, "greedy")) == []
    assert gpus.records() == {}


def test_gpus_of_different_roots_are_not_aligned(gpus: Driver, namespace: Namespace) -> None:
    same_root = {"matchAttribute": "resource.kubernetes.io/pcieRoot", "requests": ["gpu"]}
    namespace.apply(template("one", exactly(count=2), constraints=[same_root]))
    namespace.create_pod(pod_manifest("aligned", claims=ONE))
    assert "cannot allocate all claims" in namespace.wait_event("aligned", "FailedScheduling")
    assert allocated(claim_of(namespace, "aligned")) == []
