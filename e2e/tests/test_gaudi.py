"""The Gaudi driver: what its chart brings, and what containers get of their claims, alone and beside the GPU driver."""

import json

import pytest
from harness.api import Json
from harness.cluster import CommandFailed
from harness.driver import Driver, claim, exactly, template
from harness.gaudi_pods import DRIVER, environment, naming, nodes_of
from harness.gpu_pods import NO_DRIVER_BEHIND, allocated, claim_of, open_error, seen
from harness.namespace import Namespace, pod_manifest
from harness.node import NAME
from harness.release import GAUDI, Release
from harness.waiting import wait_for

ACCEL, RDMA = "/dev/accel", "/dev/infiniband"
ONE = {"gaudi": {"resourceClaimTemplateName": "one"}}


def gaudi(name: str = "gaudi", count: int = 1) -> Json:
    """Describe a request of Gaudis."""
    return exactly(name=name, device_class=DRIVER, count=count)


def container(name: str, *, request: str = "", of: str = "gaudi") -> Json:
    """Describe a container that refers to one request of a claim, or to all of it."""
    named = {"name": of} | ({"request": request} if request else {})
    (base,) = pod_manifest("")["spec"]["containers"]
    return {**base, "name": name, "resources": {"claims": [named]}}


def of_request(found: Json, request: str) -> list[str]:
    """Name the devices of one request of a claim, in the order of their allocation."""
    results = found["status"]["allocation"]["devices"]["results"]
    return [each["device"] for each in results if each["request"] == request]


def has(gaudis: Driver, namespace: Namespace, pod: str, name: str, devices: list[str]) -> None:
    """A container has the nodes of these devices and no others, and its variables name them in this order."""
    assert seen(namespace, pod, name, ACCEL) == nodes_of(gaudis, *devices)
    assert len(seen(namespace, pod, name, RDMA)) == len(devices)
    assert environment(namespace, pod, name) == naming(gaudis, devices)


def test_the_chart_installs_and_kubectl_shows_what_is_published(gaudis: Driver) -> None:
    cluster = gaudis.cluster
    rows = [row.split() for row in cluster.kubectl("get", "resourceslices", "--no-headers").splitlines()]
    assert [NAME, DRIVER, NAME] in [row[1:4] for row in rows]
    classes = cluster.kubectl("get", "deviceclasses", "-o", "name").split()
    names = {f"deviceclass.resource.k8s.io/{name}" for name in (DRIVER, "gaudi-habana.intel.com")}
    assert names <= set(classes)
    devices = gaudis.devices()
    assert len(devices) == 8
    shown = [each["attributes"] for each in devices.values()]
    assert {each["model"]["string"] for each in shown} == {"Gaudi2"}
    assert sorted(each["moduleId"]["int"] for each in shown) == list(range(8))
    assert {each["capacity"]["memory"]["value"] for each in devices.values()} == {"96Gi"}


def test_a_container_sees_the_gaudis_of_the_request_that_it_names_and_no_others(
    gaudis: Driver, namespace: Namespace
) -> None:
    namespace.apply(template("one", gaudi("left"), gaudi("right", count=2)))
    containers = [container("first", request="left"), container("second", request="right"), container("both")]
    namespace.run_pod(pod_manifest("split", claims=ONE, containers=containers))
    found = claim_of(namespace, "split", "gaudi")
    left, right = of_request(found, "left"), of_request(found, "right")
    assert (len(left), len(right)) == (1, 2)
    has(gaudis, namespace, "split", "first", left)
    has(gaudis, namespace, "split", "second", right)
    has(gaudis, namespace, "split", "both", allocated(found, DRIVER))
    (name,) = (node for node in nodes_of(gaudis, *left) if "control" not in node)
    assert open_error(namespace, "split", f"{ACCEL}/{name}", "first") == NO_DRIVER_BEHIND
    namespace.delete_pod("split")
    gaudis.wait_idle()


def test_a_container_starts_again_after_the_driver_was_replaced(gaudis: Driver, namespace: Namespace) -> None:
    namespace.apply(template("one", gaudi("left"), gaudi("right")))
    containers = [container("first", request="left"), container("both")]
    namespace.run_pod(pod_manifest("stays", claims=ONE, containers=containers))
    before, driver = gaudis.records(), gaudis.driver()
    gaudis.cluster.kubectl("delete", "pod", "-n", gaudis.namespace, driver)
    gaudis.wait_ready()
    assert gaudis.driver() != driver
    assert gaudis.records() == before
    namespace.end_container("stays", "first")

    def again() -> bool:
        statuses = {each["name"]: each for each in namespace.pod("stays")["status"]["containerStatuses"]}
        return bool(statuses["first"]["restartCount"] and statuses["first"]["ready"])

    wait_for(again, "the container to run again", 60)
    found = claim_of(namespace, "stays", "gaudi")
    has(gaudis, namespace, "stays", "first", of_request(found, "left"))
    has(gaudis, namespace, "stays", "both", allocated(found, DRIVER))
    namespace.delete_pod("stays")
    gaudis.wait_idle()


def test_the_gaudis_of_a_claim_are_connected_if_it_says_so(gaudis: Driver, namespace: Namespace) -> None:
    parameters = {"apiVersion": f"{DRIVER}/v1alpha1", "kind": "GaudiConfig", "topology": "connected"}
    config = {"requests": ["gaudi"], "opaque": {"driver": DRIVER, "parameters": parameters}}
    alike = {"requests": ["gaudi"], "matchAttribute": f"{DRIVER}/oamGroup"}
    namespace.apply(template("one", gaudi(count=8), constraints=[alike], config=[config]))
    namespace.run_pod(pod_manifest("board", claims=ONE))
    has(gaudis, namespace, "board", "main", allocated(claim_of(namespace, "board", "gaudi"), DRIVER))


def test_pods_that_asked_habanas_device_plugin_work_unchanged(gaudis: Driver, namespace: Namespace) -> None:
    if not gaudis.has_extended_resources():
        return
    (base,) = pod_manifest("")["spec"]["containers"]
    asking = {**base, "resources": {"limits": {"habana.ai/gaudi": "2"}}}
    namespace.run_pod(pod_manifest("unchanged", containers=[asking]))
    assert len(environment(namespace, "unchanged")["HABANA_VISIBLE_DEVICES"].split(",")) == 2
    assert len(seen(namespace, "unchanged", folder=ACCEL)) == 4


def test_a_gaudi_whose_reset_hangs_gets_no_new_pod_until_it_is_well(
    gaudis: Driver, namespace: Namespace
) -> None:
    name = min(gaudis.devices())
    status = gaudis.function(name) / "status"
    before = status.read_text()

    def health() -> str:
        """Before Kubernetes 1.36 there are no taints, and a device with one is not offered."""
        found = gaudis.devices().get(name)
        return str(found["attributes"]["health"]["string"]) if found else "Unhealthy"

    wait_for(lambda: health() == "Healthy", "the health of Gaudis", 30)
    try:
        status.write_text("Needs reset\n")
        wait_for(lambda: health() == "Unhealthy", "the Gaudi to be unhealthy", 30)
        for found in (each for device, each in gaudis.devices().items() if device == name):
            assert found["attributes"]["healthy"] == {"bool": False}
        namespace.apply(template("one", gaudi()))
        namespace.run_pod(pod_manifest("elsewhere", claims=ONE))
        assert allocated(claim_of(namespace, "elsewhere", "gaudi"), DRIVER) != [name]
    finally:
        status.write_text(before)
    wait_for(lambda: health() == "Healthy", "the Gaudi to be well", 30)


def test_what_hlml_knows_is_published(gaudis: Driver) -> None:
    """Of a simulated machine its library is a folder."""

    def serials() -> list[str]:
        return sorted(each["attributes"]["serial"]["string"] for each in gaudis.devices().values())

    folder = gaudis.machine / "hlml/devices"
    known = sorted((each / "serial").read_text().strip() for each in folder.iterdir())
    assert len(known) == 8
    wait_for(lambda: serials() == known, "the serial numbers", 30)


def test_both_drivers_serve_one_node_and_one_claim(
    gpus: Driver, gaudis: Driver, namespace: Namespace
) -> None:
    namespace.apply(claim("pair", exactly(), gaudi(count=2)))
    containers = [container("main", of="both"), container("gpu", request="gpu", of="both")]
    claims = {"both": {"resourceClaimName": "pair"}}
    namespace.run_pod(pod_manifest("mixed", claims=claims, containers=containers))
    found = claim_of(namespace, "mixed", "both")
    (gpu,), given = allocated(found), allocated(found, DRIVER)
    has(gaudis, namespace, "mixed", "main", given)
    assert len(seen(namespace, "mixed")) == 2
    assert seen(namespace, "mixed", "gpu") == seen(namespace, "mixed")
    assert environment(namespace, "mixed", "gpu") == {}
    assert seen(namespace, "mixed", "gpu", ACCEL) == set()
    uid = found["metadata"]["uid"]
    assert [set(gpus.held().values()), set(gaudis.held().values())] == [{uid}, {uid}]
    assert (set(gpus.held()), set(gaudis.held())) == ({gpu}, set(given))
    namespace.delete_pod("mixed")
    gpus.wait_idle()
    gaudis.wait_idle()


def test_every_request_of_the_driver_was_allowed(gaudis: Driver) -> None:
    user = f"system:serviceaccount:{gaudis.namespace}:{gaudis.daemonset}"
    asked = [each for each in gaudis.cluster.audit(user) if "dra-common" in each.get("userAgent", "")]
    assert asked
    refused = [each["requestURI"] for each in asked if each["responseStatus"]["code"] in (401, 403)]
    # A policy that was just made is not in force at once, nor is a role.
    assert refused == []


def test_the_policy_of_claims_refuses_what_the_driver_would(gaudis: Driver, namespace: Namespace) -> None:
    parameters = {"apiVersion": f"{DRIVER}/v1alpha1", "kind": "GaudiConfig", "topologie": "any"}
    wrong = claim("wrong", gaudi())
    wrong["spec"]["devices"]["config"] = [{"opaque": {"driver": DRIVER, "parameters": parameters}}]
    with pytest.raises(CommandFailed, match="GaudiConfig has no field topologie"):
        namespace.apply(wrong)
    assert gaudis.driver()


@pytest.mark.parametrize("privileged", [False, True])
def test_on_a_real_node_it_serves_whatever_there_is_and_uses_hlml_only_if_it_may(
    gaudis: Driver, *, privileged: bool
) -> None:
    gaudis.leave()
    release = Release(gaudis.cluster, GAUDI)
    real = ("simulatedDevices.enabled=false", "health.hlmlFolder=/opt/habanalabs")
    release.install(*real, f"kubeletPlugin.privileged={str(privileged).lower()}")
    try:
        said = "there is no libhlml.so in /usr/lib/habanalabs"
        if privileged:
            wait_for(lambda: said in release.logs(), "the driver to miss the library", 60)
        assert (said in release.logs()) == privileged
        assert "Traceback" not in release.logs()
        assert json.loads(release.execute("gaudi-driver", "devices", "--json")) is not None
    finally:
        release.clean(*real)
        release.uninstall()


# The last one here, after which there is nothing.
def test_removal_leaves_nothing(gaudis: Driver) -> None:
    cluster = gaudis.cluster
    gaudis.leave()
    assert gaudis.slices() == []
    for folder in ("plugins", "plugins_registry"):
        left = [path.name for path in cluster.path(f"/var/lib/kubelet/{folder}").iterdir()]
        assert [name for name in left if DRIVER in name] == []
    assert gaudis.specs() == []
    kinds = ",".join(cluster.kubectl("api-resources", "--verbs=list", "-o", "name").split())
    label = f"app.kubernetes.io/instance={gaudis.name}"
    assert cluster.kubectl("get", kinds, "-A", "-l", label, "-o", "name") == ""
