"""The cluster itself: what tests of drivers rely on."""

import os
from pathlib import Path

import pytest
from harness.api import ApiError, Json, Unanswered
from harness.cluster import Cluster, CommandFailed
from harness.components import CONTROL_PLANE, NAMES
from harness.driver import Driver
from harness.dump import dump
from harness.errors import HarnessError
from harness.images import write_busybox
from harness.namespace import Namespace, pod_manifest
from harness.node import NAME
from harness.oci import Config, Layer, write_image
from harness.waiting import NotInTime, wait_for

SLICES = "/apis/resource.k8s.io/v1/resourceslices"
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"


def container(pod: Json) -> tuple[str, int]:
    (status,) = pod["status"]["containerStatuses"]
    return status["containerID"], status["restartCount"]


def says_hello(namespace: Namespace, pod: str) -> bool:
    try:
        return namespace.execute(pod, "echo", "hello") == "hello\n"
    except CommandFailed as error:
        raise AssertionError(str(error)) from error


def test_the_node_is_ready_and_everything_has_the_pinned_version(cluster: Cluster, minor: str) -> None:
    node = cluster.api.get(f"/api/v1/nodes/{NAME}")
    version = node["status"]["nodeInfo"]["kubeletVersion"]
    assert version.startswith(f"v{minor}.")
    assert cluster.api.get("/version")["gitVersion"] == version
    assert cluster.kubectl_json("version")["clientVersion"]["gitVersion"] == version
    assert cluster.helm("list", "-A", "-o", "json").strip() == "[]"


def test_a_pod_runs_with_its_output_and_commands(namespace: Namespace) -> None:
    pod = namespace.run_pod(pod_manifest("plain", "echo hello; exec sleep 1000"))
    assert pod["spec"]["nodeName"] == NAME
    assert namespace.logs("plain") == "hello\n"
    assert namespace.execute("plain", "sh", "-c", "echo $((6 * 7))") == "42\n"
    with pytest.raises(CommandFailed, match="exit code 3"):
        namespace.execute("plain", "sh", "-c", "exit 3")
    namespace.delete_pod("plain")
    assert namespace.cluster.api.find(namespace.path("pods", "plain")) is None


def test_processes_of_the_node_and_of_its_containers_are_found_on_the_host(namespace: Namespace) -> None:
    cluster = namespace.cluster
    pod = namespace.run_pod(pod_manifest("sleeper", "exec sleep 1234"))
    inside = cluster.sandbox.host_pid(Driver(cluster).pid(pod))
    assert Path(f"/proc/{inside}/cmdline").read_text().split("\0") == ["sleep", "1234", ""]
    assert "kube-scheduler" in Path(f"/proc/{cluster.control.pid('kube-scheduler')}/cmdline").read_text()
    with pytest.raises(HarnessError, match="no process 4194304 in the cluster"):
        cluster.sandbox.host_pid(4194304)


def test_a_watch_has_begun_when_its_block_does(namespace: Namespace) -> None:
    path = namespace.path("configmaps")
    namespace.cluster.api.create(path, {"metadata": {"name": "before"}})
    with namespace.cluster.api.watch(path) as events:
        namespace.cluster.api.create(path, {"metadata": {"name": "one"}})
        namespace.cluster.api.delete(f"{path}/before")
        seen = [next(events) for _ in range(2)]
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in seen] == [
        ("ADDED", "one"),
        ("DELETED", "before"),
    ]


def test_a_pod_that_cannot_run_says_why(namespace: Namespace) -> None:
    with pytest.raises(NotInTime, match="didn't match Pod's node affinity/selector"):
        namespace.run_pod(pod_manifest("elsewhere", nodeSelector={"zone": "moon"}), timeout=2)


def test_a_pod_reaches_the_api_server_and_the_audit_log_shows_what_it_did(namespace: Namespace) -> None:
    namespace.run_pod(pod_manifest("client", automountServiceAccountToken=True))
    namespace.execute("client", "sh", "-c", "nc -w 9 10.96.0.1 443 </dev/null")
    someone = namespace.cluster.api_as(namespace.execute("client", "cat", TOKEN).strip())
    with pytest.raises(ApiError, match="cannot list resource") as refused:
        someone.get("/api/v1/nodes")
    assert refused.value.status == 403
    (event,) = namespace.cluster.audit(f"system:serviceaccount:{namespace.name}:default")
    did = event["verb"], event["objectRef"]["resource"], event["responseStatus"]["code"]
    assert did == ("list", "nodes", 403)


def test_a_container_cannot_open_a_device_that_it_was_not_given(namespace: Namespace) -> None:
    namespace.run_pod(pod_manifest("opener"))
    # 10:229 is not among the devices that runc allows everybody; mknod itself is allowed.
    script = "mknod /tmp/fuse c 10 229 && exec 3<>/tmp/fuse"
    with pytest.raises(CommandFailed, match="Operation not permitted"):
        namespace.execute("opener", "sh", "-c", script)


def test_an_image_of_our_writer_runs_as_its_configuration_says(namespace: Namespace, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "greeting").write_text("hi\n")
    (tmp_path / "base" / "bin").mkdir(parents=True)
    (tmp_path / "base" / "bin" / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (tmp_path / "base" / "bin" / "busybox").chmod(0o755)
    config = Config(
        entrypoint=["/bin/busybox", "sh", "-c"],
        command=["busybox id -u; busybox cat greeting; echo $MODE"],
        environment={"PATH": "/bin", "MODE": "x=y"},
        user="1234:1234",
        workdir="/srv/data",
    )
    layers = [Layer(tmp_path / "base"), Layer(tmp_path / "data", into="/srv/data")]
    write_image(tmp_path / "greeter.tar", "e2e.local/test/greeter:v1", layers, config)
    namespace.cluster.load_image(tmp_path / "greeter.tar")
    greeter = {"name": "main", "image": "e2e.local/test/greeter:v1", "imagePullPolicy": "Never"}
    namespace.create_pod(pod_manifest("greeter", containers=[greeter], restartPolicy="Never"))
    namespace.wait_phase("greeter", "Succeeded")
    assert namespace.logs("greeter") == "1234\nhi\nx=y\n"


def test_the_busybox_image_is_the_same_each_time(tmp_path: Path) -> None:
    images = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        images.append(write_busybox(tmp_path / name).read_bytes())
    assert images[0] == images[1]


def test_a_pod_goes_on_while_kubelet_and_containerd_are_restarted(namespace: Namespace) -> None:
    before = container(namespace.run_pod(pod_manifest("steady")))
    for name in ("kubelet", "containerd"):
        namespace.cluster.control.restart(name)
        # A new kubelet serves before it has heard of its pods.
        wait_for(lambda: says_hello(namespace, "steady"), f"commands to run after a restart of {name}")
    namespace.cluster.control.kill("kubelet")
    namespace.cluster.control.start("kubelet")
    # A kubelet that takes it up again reports it; one that made it anew would count.
    namespace.run_pod(pod_manifest("later"))
    assert container(namespace.pod("steady")) == before


@pytest.mark.parametrize("name", NAMES)
def test_a_component_is_killed_and_started_again(namespace: Namespace, name: str) -> None:
    control = namespace.cluster.control
    first = control.pid(name)
    assert f"{name}\n".startswith(Path(f"/proc/{first}/comm").read_text().strip())
    control.kill(name)
    assert not control.running(name)
    assert not Path(f"/proc/{first}").exists()
    control.start(name)
    assert control.pid(name) != first
    namespace.run_pod(pod_manifest("after"))


def test_a_paused_api_server_answers_nobody_until_it_is_resumed(cluster: Cluster) -> None:
    cluster.control.pause("kube-apiserver")
    with pytest.raises(CommandFailed, match=r"(?i)timeout|timed out|deadline"):
        cluster.kubectl("get", "--raw=/version", "--request-timeout=1s")
    cluster.control.resume("kube-apiserver")
    cluster.control.wait_serving("kube-apiserver")
    assert cluster.api.get("/version")["major"] == "1"


def test_without_api_server_requests_fail_at_once(cluster: Cluster) -> None:
    cluster.control.kill("kube-apiserver")
    with pytest.raises(Unanswered):
        cluster.api.get("/version")
    cluster.control.start("kube-apiserver")
    assert cluster.api.get("/version")["major"] == "1"


def test_a_reboot_ends_containers_empties_run_and_changes_the_boot_id(namespace: Namespace) -> None:
    cluster = namespace.cluster
    before = container(namespace.run_pod(pod_manifest("survivor")))
    boot = cluster.boot_id
    kept = {name: cluster.control.pid(name) for name in CONTROL_PLANE}
    (cluster.path("/var/run/cdi") / "gone.json").write_text("{}")
    (cluster.path("/var/lib/kubelet") / "stays").write_text("x")
    cluster.reboot()
    assert cluster.boot_id != boot
    assert {name: cluster.control.pid(name) for name in CONTROL_PLANE} == kept
    assert list(cluster.path("/var/run/cdi").iterdir()) == []
    assert (cluster.path("/var/lib/kubelet") / "stays").read_text() == "x"

    def started_again() -> bool:
        return container(namespace.pod("survivor"))[1] == before[1] + 1

    wait_for(started_again, "the pod's container to be started again", 60)
    assert container(namespace.wait_ready("survivor"))[0] != before[0]
    assert says_hello(namespace, "survivor")


def test_feature_gates_are_those_of_the_server_for_as_long_as_wanted(cluster: Cluster) -> None:
    def keeps_the_field() -> bool:
        name = f"gates-{os.urandom(3).hex()}"
        device = {"name": "gpu-0", "bindsToNode": True}
        pool = {"name": name, "generation": 1, "resourceSliceCount": 1}
        spec = {"driver": "gates.example.com", "nodeName": NAME, "pool": pool, "devices": [device]}
        made = cluster.api.create(SLICES, {"metadata": {"name": name}, "spec": spec})
        cluster.api.delete(f"{SLICES}/{name}")
        return bool(made["spec"]["devices"][0].get("bindsToNode"))

    usual = keeps_the_field()
    with cluster.feature_gates(DRADeviceBindingConditions=not usual):
        assert keeps_the_field() is not usual
    assert keeps_the_field() is usual


def test_a_component_that_dies_at_start_names_its_log_and_why(cluster: Cluster) -> None:
    cluster.control.stop("kube-scheduler")
    with pytest.raises(HarnessError, match=r"kube-scheduler died at start, exit code 1: .*no-such") as died:
        cluster.control.restart("kube-scheduler", {"config": "/no-such.yaml"})
    assert str(cluster.control.log("kube-scheduler")) in str(died.value)
    cluster.control.restart("kube-scheduler", {})


def test_a_component_that_there_is_not_is_refused(cluster: Cluster) -> None:
    with pytest.raises(HarnessError, match=r"no component 'kube-proxy' \(one of etcd, "):
        cluster.control.restart("kube-proxy")


def test_a_dump_has_what_there_is_also_without_api_server(namespace: Namespace, tmp_path: Path) -> None:
    cluster = namespace.cluster
    namespace.run_pod(pod_manifest("talker", "echo something said; exec sleep 1000"))
    (cluster.path("/var/run/cdi") / "some.json").write_text('{"kind": "x/y"}')
    summary = dump(cluster, tmp_path / "first")
    assert "talker" in summary
    assert f"all of it, with logs: {tmp_path}/first" in summary
    texts = {file.name: file.read_text() for file in (tmp_path / "first").iterdir()}
    assert "something said" in texts["pods.log"]
    assert '"x/y"' in texts["cdi.txt"]
    assert "resourceslices.json" in texts
    assert set(texts) >= {f"{name}.log" for name in NAMES}
    (cluster.path("/var/run/cdi") / "some.json").unlink()
    cluster.control.kill("kube-apiserver")
    dump(cluster, tmp_path / "second")
    assert (tmp_path / "second" / "pods.json").read_text().startswith("not to be had: GET /api/v1/pods: ")
    assert (tmp_path / "second" / "kubelet.log").stat().st_size


def test_a_path_of_the_node_is_never_one_of_the_host(cluster: Cluster) -> None:
    cluster.run("sh", "-c", "echo node > /run/cdi/mine; ln -s /run/cdi/../cdi/mine /run/tmp/link")
    assert cluster.path("/var/run/cdi/mine").read_text() == "node\n"
    assert cluster.path("/run/tmp/link").read_text() == "node\n"
    cluster.run("ln", "-s", "/run/tmp/loop", "/run/tmp/loop")
    with pytest.raises(HarnessError, match="too many symbolic links"):
        cluster.path("/run/tmp/loop")
    cluster.run("rm", "/run/cdi/mine", "/run/tmp/link", "/run/tmp/loop")
