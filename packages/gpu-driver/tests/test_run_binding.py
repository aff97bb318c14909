"""GPUs change between DRM and VFIO for claims, in the real process on the simulated kernel, and back."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

import pytest
from dra_common.model import ClaimRef
from dra_common.simulate import SimulatedHost
from dra_common.testing.killer import Killer
from dra_common.testing.mortal import Orders
from dra_common.testing.node import PrepareFailed, SimulatedNode
from dra_common.testing.waiting import wait_until
from driver_nodes import assert_no_surprise, put_status, reboot, taints, virtual_machine, write
from gpu_nodes import allocated, machine_only, running

FLEX, B60 = "0000-4d-00-0-0x56c0", "0000-9a-00-0-0xe211"
FLEX_BDF, B60_BDF = "0000:4d:00.0", "0000:9a:00.0"


@pytest.fixture
def node() -> Iterator[SimulatedNode]:
    with running("two-gpus") as node:
        yield node


def claim(
    node: SimulatedNode, name: str, *devices: str, source: str = "FromClaim", **config: Any
) -> ClaimRef:
    """A claim with these devices, and a GpuConfig for all of them."""
    ref = allocated(node, name, *devices)
    stored: Any = node.api.get("ResourceClaim", ref.name, ref.namespace)
    parameters = {"apiVersion": "gpu.intel.com/v1alpha1", "kind": "GpuConfig", **config}
    entry = {
        "source": source,
        "requests": [],
        "opaque": {"driver": "gpu.intel.com", "parameters": parameters},
    }
    stored["status"]["allocation"]["devices"]["config"] = [entry]
    put_status(node, ref, stored["status"])
    return ref


def vfio(node: SimulatedNode, name: str, *devices: str, **more: Any) -> ClaimRef:
    return claim(node, name, *devices, binding="vfio", **more)


def bound(node: SimulatedNode, bdf: str) -> tuple[str, str]:
    """Kernel driver and override of a function."""
    sysfs = SimulatedHost(node.machine).sysfs
    folder = f"bus/pci/devices/{bdf}"
    driver = sysfs.readlink(f"{folder}/driver").rpartition("/")[2] if sysfs.exists(f"{folder}/driver") else ""
    return driver, sysfs.read(f"{folder}/driver_override")


def given(node: SimulatedNode, ref: ClaimRef) -> list[str]:
    """Device nodes in the container, each of which is one of the machine's."""
    edits = node.resolve(node.prepare(ref)).device_nodes
    return sorted(edits)


def test_a_gpu_is_given_whole_and_is_back_on_its_own_driver_afterwards(node: SimulatedNode) -> None:
    ref = vfio(node, "vm", FLEX, B60)
    assert given(node, ref) == [
        "/dev/iommu",
        "/dev/vfio/14",
        "/dev/vfio/22",
        "/dev/vfio/devices/vfio0",
        "/dev/vfio/devices/vfio1",
        "/dev/vfio/vfio",
    ]
    assert bound(node, FLEX_BDF) == ("vfio-pci", "vfio-pci")
    assert bound(node, B60_BDF) == ("xe-vfio-pci", "xe-vfio-pci")
    node.unprepare(ref)
    assert bound(node, FLEX_BDF) == ("i915", "(null)")
    assert bound(node, B60_BDF) == ("xe", "(null)")
    assert_no_surprise(node)


def test_a_gpu_of_a_virtual_machine_serves_containers_and_goes_back(node: SimulatedNode) -> None:
    whole = vfio(node, "vm", B60)
    node.prepare(whole)
    node.kill_driver()
    # Somebody else's binding by now: no claim of ours is to give it back.
    node.start_driver()
    node.unprepare(whole)
    write(node, f"bus/pci/devices/{B60_BDF}/driver_override", "vfio-pci")
    write(node, "bus/pci/drivers/xe/unbind", B60_BDF)
    write(node, "bus/pci/drivers_probe", B60_BDF)
    ref = allocated(node, "drm", B60)
    assert [path for path in given(node, ref) if "render" in path]
    assert bound(node, B60_BDF) == ("xe", "(null)")
    node.unprepare(ref)
    assert bound(node, B60_BDF) == ("vfio-pci", "vfio-pci")


def test_the_name_of_the_device_class_means_vfio(node: SimulatedNode) -> None:
    ref = allocated(node, "vm", FLEX)
    stored: Any = node.api.get("ResourceClaim", ref.name, ref.namespace)
    stored["spec"]["devices"]["requests"][0]["exactly"]["deviceClassName"] = "gpu-vfio.intel.com"
    node.api.put("ResourceClaim", stored)
    assert "/dev/vfio/14" in given(node, ref)


@pytest.mark.defect(2)
def test_who_only_looks_on_changes_nothing(node: SimulatedNode) -> None:
    """A monitor has all GPUs, by the class for DRM; virtual machines have these two, and one runs."""
    node.prepare(vfio(node, "vm", FLEX, B60))
    spy = allocated(node, "spy", FLEX, B60, adminAccess=True)
    with virtual_machine(node, FLEX_BDF):
        assert [device.cdi_ids for device in node.prepare(spy)] == [(), ()]
        assert both(node) == (("vfio-pci", "vfio-pci"), ("xe-vfio-pci", "xe-vfio-pci"))
        node.unprepare(spy)
        assert both(node) == (("vfio-pci", "vfio-pci"), ("xe-vfio-pci", "xe-vfio-pci"))


def test_only_an_administrator_may_keep_a_binding(node: SimulatedNode) -> None:
    assert "keepBinding may be set in the DeviceClass only" in node.refusal(
        vfio(node, "user", FLEX, keepBinding=True)
    )
    ref = vfio(node, "admin", FLEX, source="FromClass", keepBinding=True)
    node.prepare(ref)
    node.unprepare(ref)
    assert bound(node, FLEX_BDF) == ("vfio-pci", "vfio-pci")


# --------------------------------------------------------------------------- hardware that others use


def to_vfio_by_hand(node: SimulatedNode, bdf: str, driver: str) -> None:
    write(node, f"bus/pci/devices/{bdf}/driver_override", "vfio-pci")
    write(node, f"bus/pci/drivers/{driver}/unbind", bdf)
    write(node, "bus/pci/drivers_probe", bdf)


@pytest.mark.defect(2)
def test_what_a_virtual_machine_has_open_is_not_taken_away(node: SimulatedNode) -> None:
    to_vfio_by_hand(node, FLEX_BDF, "i915")
    ref = allocated(node, "drm", FLEX)
    with virtual_machine(node, FLEX_BDF):
        for claim_of_it in (ref, vfio(node, "second", FLEX)):
            error = node.refusal(claim_of_it)
            assert "a virtual machine that is not of a claim has it open (end the virtual machine)" in error
        assert bound(node, FLEX_BDF) == ("vfio-pci", "vfio-pci")
        # The slice says so as soon as the machine is looked at again, and no later than the next rescan.
        write(node, f"bus/pci/devices/{B60_BDF}/uevent", "change")
        wait_until(lambda: taints(node, FLEX) == ["busy"], "the taint")
    assert any("card" in path for path in given(node, ref))
    node.unprepare(ref)
    assert bound(node, FLEX_BDF) == ("vfio-pci", "vfio-pci")
    assert node.leftovers() == []


def test_a_machine_that_does_not_let_go_keeps_nobody_else_waiting() -> None:
    """The unbind blocks in the kernel: a clear error, a taint, the others served; and all is well when it returns."""
    with running("two-gpus", "--rescan-seconds=1") as node:
        ref = vfio(node, "vm", FLEX)
        node.prepare(ref)
        with virtual_machine(node, FLEX_BDF):
            node.kubelet._call_timeout = 10
            (error,) = node.kubelet.unprepare([ref], node.driver).values()
            node.kubelet._call_timeout = 45
            assert f"{FLEX_BDF}: unbind vfio-pci: the kernel has not returned" in error
            assert "end the virtual machine" in error
            wait_until(lambda: "busy" in taints(node, FLEX), "the taint")
            other = allocated(node, "other", B60)
            assert any("render" in path for path in given(node, other))
            node.unprepare(other)
            node.kill_driver()
            node.start_driver()
        wait_until(lambda: not node.kubelet.unprepare([ref], node.driver)[ref.uid], "the kernel to return")
        assert bound(node, FLEX_BDF) == ("i915", "(null)")
        wait_until(lambda: taints(node, FLEX) == [], "the taints to go")
        assert node.leftovers() == []


def test_a_prepared_gpu_that_an_outsider_rebinds_is_tainted_until_its_claim_is_gone(
    node: SimulatedNode,
) -> None:
    ref = allocated(node, "drm", B60)
    node.prepare(ref)
    to_vfio_by_hand(node, B60_BDF, "xe")
    wait_until(lambda: taints(node, B60) == ["unexpected-driver"], "the taint")
    node.unprepare(ref)
    write(node, f"bus/pci/devices/{B60_BDF}/uevent", "change")
    wait_until(lambda: taints(node, B60) == [], "the taint to go")
    assert bound(node, B60_BDF) == ("vfio-pci", "vfio-pci")


@pytest.mark.defect(10)
def test_what_another_driver_has_is_left_to_it(node: SimulatedNode) -> None:
    ref = vfio(node, "vm", FLEX, B60)
    write(node, f"bus/pci/devices/{B60_BDF}/sriov_numvfs", "2")
    assert "it has 2 virtual functions" in node.refusal(ref)
    # The claim gets all of its devices, or none: the first was not touched.
    assert bound(node, FLEX_BDF) == ("i915", "(null)")
    assert node.leftovers() == []


# --------------------------------------------------------------------------- failures and reboots


@pytest.fixture
def killer() -> Iterator[Killer]:
    with machine_only("two-gpus") as node:
        killer = Killer(node)
        killer.start()
        node.wait_published()
        yield killer


FOUND = (("i915", "(null)"), ("xe", "(null)"))


def both(node: SimulatedNode) -> tuple[tuple[str, str], tuple[str, str]]:
    return bound(node, FLEX_BDF), bound(node, B60_BDF)


HARDWARE = "hardware"


def hardware_changes(killer: Killer, ref: ClaimRef) -> list[int]:
    """Numbers of the changes of hardware in a prepare of this claim, among those of hardware."""
    killer.order(Orders())
    killer.node.prepare(ref)
    changes = [line for line in killer.changes() if f" {HARDWARE} " in line]
    killer.node.unprepare(ref)
    assert len(changes) == 6
    return list(range(1, 7))


@pytest.mark.defect(10, 11)
def test_a_failure_in_the_middle_gives_all_back(killer: Killer) -> None:
    node, ref = killer.node, vfio(killer.node, "vm", FLEX, B60)
    for at in hardware_changes(killer, ref):
        killer.order(Orders("fail", at, errno.EIO, HARDWARE))
        assert "(EIO)" in node.refusal(ref)
        assert both(node) == FOUND
        assert node.leftovers() == []


@pytest.mark.defect(11)
def test_a_gpu_that_cannot_be_given_back_is_nobodys_until_it_can(killer: Killer) -> None:
    node, ref = killer.node, vfio(killer.node, "vm", B60)
    node.prepare(ref)
    killer.order(Orders())
    node.unprepare(ref)
    changes = [line for line in killer.changes() if f" {HARDWARE} " in line]
    (bind,) = (at for at, line in enumerate(changes, 1) if line.endswith("/bind"))
    node.prepare(ref)
    killer.order(Orders("fail", bind, errno.EIO, HARDWARE))
    with pytest.raises(PrepareFailed, match="EIO"):
        node.unprepare(ref)
    wait_until(lambda: "revert-failed" in taints(node, B60), "the taint")
    assert "held by claim" in node.refusal(allocated(node, "late", B60))
    node.unprepare(ref)
    assert both(node) == FOUND
    wait_until(lambda: taints(node, B60) == [], "the taint to go")
    assert node.leftovers() == []


@pytest.mark.defect(11)
def test_a_gpu_is_given_by_the_nodes_that_it_has_now(node: SimulatedNode) -> None:
    """Numbers of nodes go to whoever is bound first: afterwards each of these has the other's."""
    before = [drm(node, bdf) for bdf in (FLEX_BDF, B60_BDF)]
    machines = [vfio(node, f"vm-{device}", device) for device in (FLEX, B60)]
    for ref in machines:
        node.prepare(ref)
    for ref in reversed(machines):
        node.unprepare(ref)
    assert [drm(node, bdf) for bdf in (B60_BDF, FLEX_BDF)] == before
    for device, bdf in ((FLEX, FLEX_BDF), (B60, B60_BDF)):
        paths = given(node, allocated(node, device, device))
        assert [path.rpartition("/")[2] for path in paths] == drm(node, bdf)


def drm(node: SimulatedNode, bdf: str) -> list[str]:
    names = SimulatedHost(node.machine).sysfs.listdir(f"bus/pci/devices/{bdf}/drm")
    return sorted(name for name in names if name.startswith(("card", "render")))


@pytest.mark.parametrize("kind", ["kill-before", "kill-after"])
def test_killed_at_any_change_of_hardware_all_is_as_found(killer: Killer, kind: str) -> None:
    node, ref = killer.node, vfio(killer.node, "vm", FLEX, B60)
    for at in hardware_changes(killer, ref):
        assert killer.dies(Orders.parse(f"{kind} {at} only={HARDWARE}"), node.prepare, ref)
        killer.start()
        wait_until(lambda: both(node) == FOUND, "recovery")
        node.prepare(ref)
        assert [driver for driver, _ in both(node)] == ["vfio-pci", "xe-vfio-pci"]
        node.unprepare(ref)
        assert both(node) == FOUND
        assert node.leftovers() == []


def test_after_a_reboot_the_claim_gets_its_gpu_through_vfio_again(node: SimulatedNode) -> None:
    ref = vfio(node, "vm", FLEX)
    answer = node.prepare(ref)
    node.kill_driver()
    reboot(node)
    node.start_driver()
    assert bound(node, FLEX_BDF) == ("i915", "(null)")
    assert node.prepare(ref) == answer
    assert bound(node, FLEX_BDF) == ("vfio-pci", "vfio-pci")
    node.unprepare(ref)
    assert bound(node, FLEX_BDF) == ("i915", "(null)")


# --------------------------------------------------------------------------- nodes, names, resets


def test_a_container_finds_its_gpu_under_the_name_that_it_knows(node: SimulatedNode) -> None:
    ref = claim(node, "encoder", B60, renderNode="renderD128", nodes=["render"])
    edits = node.resolve(node.prepare(ref))
    assert list(edits.device_nodes) == ["/dev/dri/renderD128"]
    assert str(edits.device_nodes["/dev/dri/renderD128"]["hostPath"]).endswith("/dev/dri/renderD129")
    node.kill_driver()
    for path in node.cdi.iterdir():
        path.unlink()
    node.start_driver()
    assert node.resolve(node.prepare(ref)).device_nodes == edits.device_nodes, "the record knows the name"
    node.unprepare(ref)
    assert node.leftovers() == []


def test_only_an_administrator_has_a_gpu_reset(node: SimulatedNode) -> None:
    assert "reset may be set in the DeviceClass only" in node.refusal(claim(node, "user", B60, reset="flr"))


def resetting(node: SimulatedNode, name: str, **more: Any) -> ClaimRef:
    return claim(node, name, B60, source="FromClass", reset="flr", **more)


@pytest.mark.parametrize("binding", ["drm", "vfio"])
def test_a_gpu_is_reset_between_tenants_while_no_kernel_driver_has_it(binding: str) -> None:
    with machine_only("two-gpus") as node:
        log = node.root / "changes.txt"
        node.start_driver(mortal=[f"--count={log}"])
        node.wait_published()
        ref = resetting(node, "tenant", binding=binding)
        assert given(node, ref)
        node.unprepare(ref)
        done = [
            line.split()[-1].rpartition("/")[2]
            for line in log.read_text().splitlines()
            if " hardware " in line
        ]
        assert done.count("reset") == 1
        at = done.index("reset")
        assert done[at - 1] == "unbind"
        assert "bind" in done[at + 1 :]
        assert bound(node, B60_BDF) == ("xe", "(null)")
        assert [path for path in given(node, allocated(node, "next", B60)) if "render" in path]


def test_a_gpu_that_was_not_reset_is_nobodys_until_it_is(node: SimulatedNode) -> None:
    ref = resetting(node, "tenant")
    node.prepare(ref)
    write(node, f"bus/pci/devices/{B60_BDF}/reset_method", "\n")
    with pytest.raises(PrepareFailed, match="reset"):
        node.unprepare(ref)
    node.wait(lambda: "revert-failed" in taints(node, B60), "the taint")
    assert "held by claim" in node.refusal(allocated(node, "next", B60))
    write(node, f"bus/pci/devices/{B60_BDF}/reset_method", "default")
    node.unprepare(ref)
    assert bound(node, B60_BDF) == ("xe", "(null)")
    node.wait(lambda: not taints(node, B60), "the end of the taint")
    assert node.leftovers() == []


def test_a_gpu_that_cannot_be_reset_is_not_given(node: SimulatedNode) -> None:
    write(node, f"bus/pci/devices/{B60_BDF}/reset_method", "bus")
    assert "it has no function level reset" in node.refusal(resetting(node, "tenant"))
    assert node.leftovers() == []
