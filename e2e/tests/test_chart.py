"""The charts: what helm makes of them, and the GPU driver's life from its installation to its removal."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.api import ApiError, Json
from harness.cluster import Cluster, CommandFailed
from harness.driver import Driver
from harness.gpu_pods import CLAIMS
from harness.namespace import Namespace, pod_manifest
from harness.release import GAUDI, GPU, PRODUCTS, Product, Release
from harness.waiting import wait_for

SLICES = "/apis/resource.k8s.io/v1/resourceslices"
CLASSES = "/apis/resource.k8s.io/v1/deviceclasses"
KUBELET = "/var/lib/kubelet"
SERVER = "https://10.96.0.1"
ONE_GPU = {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu.intel.com"}}]}}
VARIANTS = (
    (),
    ("simulatedDevices.enabled=false",),
    ("simulatedDevices.enabled=false", "cdi.staticPath=", "kubeletPlugin.privileged=true"),
    ("metrics.enabled=true", "logging.format=json", "logging.verbosity=4", "serverFeaturesOff={taints}"),
    ("health.enabled=true",),
    ("health.enabled=true", "health.xpumdSocket=", "health.file=/etc/gpu/health.yaml", "health.taint=none"),
    ("claimStatus=true", "migrationClasses={i915,xe}"),
    ("enableDRAExtendedResources=true", "extendedResourceName=example.com/gpu"),
    ("serviceAccount.create=false", "serviceAccount.name=mine", "imagePullSecrets[0].name=secret"),
    (
        "kubeletPlugin.nodeSelector.gpu=yes",
        "kubeletPlugin.tolerations=null",
        "kubeletPlugin.priorityClassName=",
    ),
    ("cleanup=true",),
)
GAUDI_VARIANTS = (
    (),
    ("simulatedDevices.enabled=false",),
    ("simulatedDevices.enabled=false", "kubeletPlugin.privileged=true", "health.hlmlFolder=/opt/habana"),
    ("simulatedDevices.enabled=false", "health.sources={hlml,file}", "health.file=/etc/gaudi/health.yaml"),
    ("health.enabled=false", "openshift.enabled=true", "gaudiHookPath=/opt/hook"),
    ("removeOldTaintRules=true", "claimStatus=true", "enableDRAExtendedResources=true"),
    ("migrationClasses={habana}", "config.networkFile=/opt/net.json", "config.healthInterval=30"),
    ("cleanup=true",),
)
RENDERED = [
    *((GPU, values) for values in VARIANTS),
    *((GAUDI, values) for values in GAUDI_VARIANTS),
]


@pytest.fixture(scope="module", autouse=True)
def _alone(installed: Driver) -> None:
    """Take away the driver of the tests before, if there is one."""
    installed.leave()


# --------------------------------------------------------------------------- helm


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)
def test_helm_finds_nothing_wrong(cluster: Cluster, product: Product) -> None:
    assert "0 chart(s) failed" in cluster.helm("lint", "--strict", str(product.chart))


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)
def test_a_packaged_chart_is_the_same(cluster: Cluster, product: Product, tmp_path: Path) -> None:
    """It has the library, which in the checkout is a link."""
    said = cluster.helm("package", str(product.chart), "-d", str(tmp_path))
    (package,) = tmp_path.glob("*.tgz")
    assert str(package) in said
    rendered = [cluster.helm("template", "same", str(chart)) for chart in (product.chart, package)]
    assert rendered[0] == rendered[1]
    assert "DaemonSet" in rendered[0]


@pytest.mark.defect(19)
@pytest.mark.parametrize(
    ("product", "values"),
    RENDERED,
    ids=lambda each: each.name if isinstance(each, Product) else ",".join(each)[:50] or "defaults",
)
def test_the_api_server_takes_what_is_rendered(
    cluster: Cluster, product: Product, values: tuple[str, ...]
) -> None:
    rendered = Release(cluster, product, namespace="default").template(*values)
    said = cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", given=rendered)
    assert "DaemonSet" in rendered
    assert said.count("created (server dry run)") == rendered.count("\nkind: ")


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("image.tag=1", "/image/tag"),
        ("kubeletPlugin.healthcheckPort=0", "/kubeletPlugin/healthcheckPort"),
        ("host.kubeletDir=var/lib/kubelet", "/host/kubeletDir"),
        ("healthMonitoring.enabled=true", "healthMonitoring"),
        ("health.taint=NoWay", "/health/taint"),
        ("migrationClasses={amdgpu}", "/migrationClasses/0"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name(cluster: Cluster, value: str, named: str) -> None:
    with pytest.raises(CommandFailed, match="specifications of the schema") as caught:
        Release(cluster).template(value)
    assert named in str(caught.value)


# --------------------------------------------------------------------------- a driver's life


@pytest.fixture(scope="module")
def release(cluster: Cluster, driver_image: str) -> Iterator[Release]:
    assert driver_image
    release = Release(cluster)
    release.install()
    yield release
    if release.installed:
        release.clean()
        release.uninstall()


def slices(cluster: Cluster) -> list[Json]:
    found = cluster.api.items(SLICES)
    return [each for each in found if each["spec"]["driver"] == "gpu.intel.com"]


def published(cluster: Cluster) -> list[Json]:
    return wait_for(lambda: slices(cluster), "ResourceSlices of gpu.intel.com", 30)


ONE_GPU_TEMPLATE = {
    "apiVersion": "resource.k8s.io/v1",
    "kind": "ResourceClaimTemplate",
    "metadata": {"name": "one-gpu"},
    "spec": {"spec": ONE_GPU},
}
ONE_CLAIM = {"gpu": {"resourceClaimTemplateName": "one-gpu"}}


def run_with_gpu(namespace: Namespace, name: str) -> None:
    namespace.apply(ONE_GPU_TEMPLATE)
    namespace.run_pod(pod_manifest(name, claims=ONE_CLAIM))


def test_devices_and_classes_are_there(cluster: Cluster, release: Release) -> None:
    (found,) = published(cluster)
    assert len(found["spec"]["devices"]) == 2
    assert found["spec"]["nodeName"] == "e2e-node"
    names = {each["metadata"]["name"] for each in cluster.api.items(CLASSES)}
    assert names == {"gpu.intel.com", "gpu-vfio.intel.com", "gpu-vf.intel.com"}
    assert "WARNING another" not in release.logs()


def test_a_container_may_open_its_gpu_and_no_other(release: Release, namespace: Namespace) -> None:
    assert release.driver()
    run_with_gpu(namespace, "user")
    shown = namespace.execute("user", "sh", "-c", "stat -c '%t:%T' /dev/dri/card* /dev/dri/renderD*")
    mine = {tuple(int(part, 16) for part in line.split(":")) for line in shown.split()}
    (major,) = {each[0] for each in mine}
    for minor in range(10):
        path = f"/tmp/{minor}"
        why = namespace.execute(
            "user", "sh", "-c", f"mknod {path} c {major} {minor}; head -c 1 {path} 2>&1 || true"
        )
        # No driver serves it; the device cgroup does not allow it.
        expected = "No such device or address" if (major, minor) in mine else "Operation not permitted"
        assert expected in why
    namespace.delete_pod("user")


def test_the_driver_has_no_more_rights_than_any_user(release: Release) -> None:
    status = release.execute("python3", "-c", "print(open('/proc/self/status').read())")
    held = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
    assert {held[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (held["NoNewPrivs"], held["Seccomp"]) == ("1", "2")
    for path in ("/x", "/opt/driver/x", "/host/x"):
        with pytest.raises(CommandFailed, match=r"Read-only file system|No such file"):
            release.execute("python3", "-c", f"open({path!r}, 'w')")


@pytest.mark.scenario(54)
def test_an_upgrade_under_a_claim_changes_nothing(
    cluster: Cluster, release: Release, namespace: Namespace
) -> None:
    run_with_gpu(namespace, "user")
    before, driver, machine = published(cluster), release.driver(), release.pods("simulated-machine")
    release.upgrade("logging.verbosity=4")
    assert release.driver() != driver
    wait_for(lambda: len(release.pods("kubelet-plugin")) == 1, "the old pod to be gone", 60)
    after = published(cluster)
    assert [each["metadata"]["resourceVersion"] for each in after] == [
        each["metadata"]["resourceVersion"] for each in before
    ]
    assert [each["metadata"]["uid"] for each in release.pods("simulated-machine")] == [
        each["metadata"]["uid"] for each in machine
    ]
    assert namespace.pod("user")["status"]["containerStatuses"][0]["restartCount"] == 0
    namespace.delete_pod("user")


def token(release: Release, *bound: str) -> str:
    account = release.daemonset
    return release.cluster.kubectl("create", "token", account, "-n", release.namespace, *bound).strip()


def slice_of(node: str, driver: str = "gpu.intel.com") -> Json:
    pool = {"name": node, "generation": 1, "resourceSliceCount": 1}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"generateName": "policy-"},
        "spec": {"driver": driver, "nodeName": node, "pool": pool, "devices": [{"name": "made-up"}]},
    }


@pytest.mark.scenario(71)
def test_a_driver_writes_slices_of_its_own_node_and_of_itself_only(
    cluster: Cluster, release: Release
) -> None:
    bound = token(release, "--bound-object-kind=Pod", f"--bound-object-name={release.driver()}")
    mine, unbound = cluster.api_as(bound), cluster.api_as(token(release))
    for api, body, why in (
        (mine, slice_of("other"), "this one is of node 'other'"),
        (mine, slice_of("e2e-node", "x.example.com"), "this one is of x.example.com"),
        (unbound, slice_of("e2e-node"), "bound to no pod"),
    ):
        with pytest.raises(ApiError, match=why) as refused:
            api.create(SLICES, body)
        assert refused.value.status == 403
    others = cluster.api.create(SLICES, slice_of("other"))["metadata"]["name"]
    with pytest.raises(ApiError, match="this one is of node 'other'"):
        mine.delete(f"{SLICES}/{others}")
    cluster.api.delete(f"{SLICES}/{others}")


def test_every_request_of_the_driver_was_allowed(cluster: Cluster, release: Release) -> None:
    user = f"system:serviceaccount:{release.namespace}:{release.daemonset}"
    pod = f"authentication.kubernetes.io/pod-name={release.driver()}"
    asked = [each for each in cluster.audit(user) if pod.partition("=")[2] in str(each["user"].get("extra"))]
    own = [each for each in asked if "dra-common" in each.get("userAgent", "")]
    assert own
    assert [each["requestURI"] for each in own if each["responseStatus"]["code"] in (401, 403)] == []


def test_an_operator_cordons_a_gpu_in_the_drivers_container(
    cluster: Cluster, release: Release, namespace: Namespace
) -> None:
    names = [each["name"] for each in published(cluster)[0]["spec"]["devices"]]
    said = release.execute("gpu-driver", "devices", "cordon", *names, "--reason=bad fan")
    assert said.splitlines() == [f"cordoned {name}" for name in names]
    wait_for(
        lambda: all(each.get("taints") for each in published(cluster)[0]["spec"].get("devices", [])),
        "the taints, or no devices at all without the feature gate",
        30,
    )
    namespace.apply(ONE_GPU_TEMPLATE)
    namespace.create_pod(pod_manifest("waits", claims=ONE_CLAIM))
    assert namespace.wait_event("waits", "FailedScheduling")
    release.execute("gpu-driver", "devices", "uncordon", *names)
    namespace.wait_ready("waits")
    namespace.delete_pod("waits")


@pytest.mark.scenario(77)
def test_a_claim_says_whether_its_gpus_are_ready(
    cluster: Cluster, release: Release, namespace: Namespace
) -> None:
    release.upgrade("claimStatus=true")
    run_with_gpu(namespace, "user")

    def told() -> list[Json]:
        (claim,) = cluster.api.items(namespace.path(CLAIMS))
        found: list[Json] = claim["status"].get("devices", [])
        return found

    (device,) = wait_for(told, "the status of the claim", 30)
    assert [(each["type"], each["status"]) for each in device["conditions"]] == [("Ready", "True")]
    shown = namespace.execute("user", "sh", "-c", "ls -d /dev/dri/card* /dev/dri/renderD*").split()
    assert device["data"]["deviceNodes"] == shown
    namespace.delete_pod("user")


# The last one here, after which there is nothing.
def test_removal_is_refused_under_a_claim_and_then_leaves_nothing(
    cluster: Cluster, driver_image: str, namespace: Namespace, release: Release
) -> None:
    assert driver_image
    run_with_gpu(namespace, "user")
    driver = release.driver()
    with pytest.raises(
        CommandFailed, match=f"1 ResourceClaim has devices of gpu.intel.com: {namespace.name}/user"
    ):
        release.clean()
    assert release.driver() == driver
    assert published(cluster)
    namespace.delete_pod("user")
    release.clean()
    assert slices(cluster) == []
    assert cluster.api.items(CLASSES) == []
    for folder in ("plugins", "plugins_registry"):
        assert list(cluster.path(f"{KUBELET}/{folder}").iterdir()) == []
    assert list(cluster.path("/var/run/cdi").iterdir()) == []
    release.uninstall()
    kinds = ",".join(cluster.kubectl("api-resources", "--verbs=list", "-o", "name").split())
    label = f"app.kubernetes.io/instance={release.name}"
    assert cluster.kubectl("get", kinds, "-A", "-l", label, "-o", "name") == ""
