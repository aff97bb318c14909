"""Pods with shares of a GPU that is divided for them: what each sees, who waits, and the GPU as it was found."""

from collections.abc import Iterator

import pytest
from harness.api import Json
from harness.driver import DRIVER, Driver, exactly, template
from harness.gpu_pods import (
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
from harness.waiting import wait_for

B60 = "0000-9a-00-0-0xe211"
VFS = ("0000-9a-00-1-0xe211", "0000-9a-00-2-0xe211")
SHARES = "gpu-vf.intel.com"
RULE = ("config.devices[0].match.model=B60", "config.devices[0].sriov.modes={1,2,4}")
WAITS = "cannot allocate all claims"


def has_modes(minor: str) -> bool:
    """Without the feature gates of Kubernetes 1.36 no GPU is offered divided."""
    return tuple(map(int, minor.split("."))) >= (1, 36)


def modes(gpus: Driver) -> set[str]:
    return {name for name in gpus.devices() if name.startswith(f"{B60}-vf")}


def state(gpus: Driver) -> tuple[str, str, str]:
    """Number of VFs, autoprobe and kernel driver of the PF."""
    folder = gpus.machine / "sys/bus/pci/devices/0000:9a:00.0"
    files = [(folder / f"sriov_{name}").read_text().strip() for name in ("numvfs", "drivers_autoprobe")]
    return files[0], files[1], (folder / "driver").readlink().name


def bound(gpus: Driver) -> set[int]:
    """Numbers of the VFs that have a kernel driver."""
    folder = gpus.machine / "sys/bus/pci/devices/0000:9a:00.0"
    return {vf for vf in range(int(state(gpus)[0])) if (folder / f"virtfn{vf}" / "driver").is_symlink()}


def claims(name: str) -> dict[str, dict[str, str]]:
    return {"gpu": {"resourceClaimTemplateName": name}}


@pytest.fixture
def divisible(gpus: Driver, minor: str) -> Iterator[Driver]:
    """The driver, which divides a GPU when a claim asks for it."""
    before = state(gpus)
    gpus.change(*RULE)
    gpus.wait_ready()
    if has_modes(minor):
        wait_for(lambda: len(modes(gpus)) == 3, "the modes", 60)
    yield gpus
    gpus.change()
    gpus.wait_ready()
    wait_for(lambda: not modes(gpus), "the modes to go", 60)
    assert state(gpus) == before


def templates() -> list[Json]:
    mine = f'device.attributes["{DRIVER}"]'
    machine = {"apiVersion": "gpu.intel.com/v1alpha1", "kind": "GpuConfig", "binding": "vfio"}
    config = {"opaque": {"driver": DRIVER, "parameters": machine}}
    by_memory = exactly(device_class=SHARES, capacity={"requests": {"memory": "4Gi"}})
    return [
        template("quarter", exactly(f'{mine}.mode == "vf4"', device_class=SHARES)),
        template("memory", by_memory),
        template("machine", exactly(device_class=SHARES), config=[config]),
        template("whole", exactly(f'{mine}.model == "B60"')),
    ]


def test_two_pods_have_a_virtual_function_each_and_a_whole_gpu_waits_for_both(
    divisible: Driver, namespace: Namespace, minor: str
) -> None:
    namespace.apply(*templates())
    if not has_modes(minor):
        assert not modes(divisible)
        namespace.create_pod(pod_manifest("one", claims=claims("quarter")))
        assert WAITS in namespace.wait_event("one", "FailedScheduling")
        namespace.run_pod(pod_manifest("whole", claims=claims("whole")))
        assert allocated(claim_of(namespace, "whole")) == [B60]
        assert state(divisible)[0] == "0"
        return
    found = state(divisible)
    namespace.run_pod(pod_manifest("one", claims=claims("quarter")))
    namespace.run_pod(pod_manifest("two", claims=claims("memory")))
    assert [allocated(claim_of(namespace, name)) for name in ("one", "two")] == [[f"{B60}-vf4"]] * 2
    assert state(divisible) == ("4", *found[1:])
    nodes = [nodes_of(divisible, vf) for vf in VFS]
    assert [seen(namespace, name) for name in ("one", "two")] == nodes
    assert [len(each) for each in nodes] == [2, 2]
    assert bound(divisible) == {0, 1}
    # The other's VF is out of reach, and so is the PF.
    for node in (*nodes[1], *nodes_of(divisible, B60)):
        make_node(namespace, "one", f"/tmp/{node}", number(divisible, node))
        assert open_error(namespace, "one", f"/tmp/{node}") == NOT_ALLOWED

    namespace.create_pod(pod_manifest("whole", claims=claims("whole")))
    assert WAITS in namespace.wait_event("whole", "FailedScheduling")
    namespace.delete_pod("one")
    assert namespace.pod("whole")["status"]["phase"] == "Pending"
    assert bound(divisible) == {1}
    assert state(divisible) == ("4", *found[1:])
    namespace.delete_pod("two")
    namespace.wait_ready("whole")
    assert state(divisible) == found
    assert seen(namespace, "whole") == nodes_of(divisible, B60)
    namespace.create_pod(pod_manifest("late", claims=claims("quarter")))
    assert WAITS in namespace.wait_event("late", "FailedScheduling")
    namespace.delete_pod("late")
    namespace.delete_pod("whole")
    divisible.wait_idle()


def test_a_virtual_machine_beside_a_container_while_the_driver_dies(
    divisible: Driver, namespace: Namespace, minor: str
) -> None:
    if not has_modes(minor):
        assert not modes(divisible)
        return
    found = state(divisible)
    namespace.apply(*templates())
    namespace.run_pod(pod_manifest("machine", claims=claims("machine")))
    namespace.run_pod(pod_manifest("container", claims=claims("quarter")))
    divisible.kill()
    assert bound(divisible) == {0, 1}
    group, *others = namespace.execute("machine", "ls", "/dev/vfio").split()
    assert (group.isdigit(), others, seen(namespace, "machine")) == (True, ["devices", "vfio"], set())
    assert seen(namespace, "container") == nodes_of(divisible, VFS[1])
    namespace.delete_pod("machine")
    assert (state(divisible)[0], bound(divisible)) == ("4", {1})
    namespace.delete_pod("container")
    divisible.wait_idle()
    assert state(divisible) == found
