"""The driver's configuration file as an operator has it on a cluster: a value of the chart, changed while pods run."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.api import Json
from harness.cluster import Cluster, CommandFailed
from harness.driver import Driver
from harness.namespace import Namespace, pod_manifest
from harness.waiting import wait_for

FLEX, ARC = "0000-4d-00-0-0x56c0", "0000-9a-00-0-0xe211"
ONE_GPU = {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu.intel.com"}}]}}
SYNC = 240.0
"""Seconds in which the kubelet brings a changed ConfigMap to a pod: its sync period, and its cache's."""


def rule(number: int, match: str, *, publish: bool) -> tuple[str, ...]:
    place = f"config.devices[{number}]"
    return f"{place}.match.{match}", f"{place}.publish={str(publish).lower()}"


NO_ARC = rule(0, "family=Arc*", publish=False)
NO_FLEX = rule(0, "pciAddress=0000:4d:00.0", publish=False)


@pytest.fixture
def configured(gpus: Driver) -> Iterator[Driver]:
    """The driver with a configuration that denies one of two GPUs."""
    gpus.change(*NO_ARC)
    gpus.wait_ready()
    wait_for(lambda: set(gpus.devices()) == {FLEX}, "the denied GPU to be gone", SYNC)
    yield gpus
    gpus.change()
    gpus.wait_ready()
    wait_for(lambda: set(gpus.devices()) == {FLEX, ARC}, "all GPUs", SYNC)


def test_gpus_are_denied_and_allowed_under_a_running_pod(
    cluster: Cluster, configured: Driver, namespace: Namespace
) -> None:
    template = {"metadata": {"name": "one"}, "spec": {"spec": ONE_GPU}}
    namespace.apply({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate", **template})
    namespace.run_pod(pod_manifest("user", claims={"gpu": {"resourceClaimTemplateName": "one"}}))
    driver = configured.driver()
    configured.change(*NO_FLEX)
    wait_for(lambda: ARC in configured.devices(), "the GPU that is allowed now", SYNC)
    # The pod has the other one, which nobody else gets and which it keeps.
    taints = [taint["key"] for taint in configured.devices()[FLEX].get("taints", ())]
    if _has_taints(cluster):
        assert taints == ["gpu.intel.com/denied"]
    assert namespace.pod("user")["status"]["phase"] == "Running"
    namespace.delete_pod("user")
    wait_for(lambda: set(configured.devices()) == {ARC}, "the GPU that is denied now to be gone", 30)
    assert configured.driver() == driver
    assert "config.yaml was read again: devices changed" in configured.logs()


def test_a_bad_configuration_changes_nothing_and_the_node_tells(cluster: Cluster, configured: Driver) -> None:
    maps = f"/api/v1/namespaces/{configured.namespace}/configmaps/{configured.daemonset}"
    good = cluster.api.get(maps)["data"]["config.yaml"]
    cluster.api.merge(maps, {"data": {"config.yaml": f"{good}colour: red\n"}})
    event = wait_for(lambda: _refusals(cluster), "the Event", SYNC)[0]
    assert event["regarding"]["kind"] == "Node"
    assert "colour: unknown field" in event["note"]
    assert set(configured.devices()) == {FLEX}
    configured.wait_ready()
    cluster.api.merge(maps, {"data": {"config.yaml": good}})
    wait_for(lambda: "read again: nothing changed" in configured.logs(), "the good file", SYNC)


def _refusals(cluster: Cluster) -> list[Json]:
    path = "/apis/events.k8s.io/v1/namespaces/default/events"
    return [each for each in cluster.api.items(path) if each["reason"] == "ConfigurationRefused"]


def test_commands_in_the_pod_go_by_its_configuration(configured: Driver) -> None:
    listed = configured.execute("gpu-driver", "devices")
    assert [line.split()[0] for line in listed.splitlines() if "gpu.intel.com/denied" in line] == [ARC]
    assert ARC not in configured.execute("gpu-driver", "slices")
    told = configured.execute("gpu-driver", "config", "check", "/etc/intel-gpu-driver/config.yaml")
    assert "config.yaml is good" in told


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("config.devises[0].publish=false", "devises"),
        ("config.devices[0].publish=false", "match"),
        ("config.devices[0].match.pciId=0x56c0", None),
        ("config.devices[0].match.pciId=22208", "/config/devices/0/match/pciId"),
        ("config.nodes[0].match=7", "/config/nodes/0/match"),
    ],
)
def test_helm_refuses_what_the_driver_would_refuse(gpus: Driver, value: str, named: str | None) -> None:
    if named is None:
        assert "kind: ConfigMap" in gpus.template(value)
        return
    with pytest.raises(CommandFailed, match="specifications of the schema") as caught:
        gpus.template(value)
    assert named in str(caught.value)


def test_what_helm_writes_is_what_the_driver_reads(gpus: Driver) -> None:
    """Text that YAML could take for a number stays text: addresses, ids, node names."""
    rendered = gpus.template(
        *rule(0, "pciAddress=0000:03:00.0", publish=False),
        *rule(1, "name=0000-03-00-0-0x56c0", publish=True),
        "config.nodes[0].match={bench-*,lab-1}",
    )
    text = rendered.partition("config.yaml: |\n")[2].partition("---\n")[0]
    config = "\n".join(line.removeprefix("    ") for line in text.splitlines())
    place = "/var/lib/kubelet/plugins/gpu.intel.com/check.yaml"
    _write(gpus.cluster.path(place), config)
    try:
        told = gpus.execute("gpu-driver", "config", "check", place, "--node-name", "bench-1")
    finally:
        gpus.cluster.path(place).unlink()
    assert "0000:03:00.0" in told
    assert "sections 1 of 1" in told


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _has_taints(cluster: Cluster) -> bool:
    gates = cluster.api.get("/version")
    return int(gates["minor"].rstrip("+")) >= 36
