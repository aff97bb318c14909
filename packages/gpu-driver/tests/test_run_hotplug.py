"""The machine changes under the real driver, through the simulated kernel's control socket: the slices follow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dra_common.testing.node import SimulatedNode
from dra_common.testing.waiting import wait_until
from driver_nodes import (
    assert_no_surprise,
    control,
    host_paths,
    is_alive,
    lines,
    names,
    refusal,
    taints,
    write,
)
from gpu_nodes import allocated, gpu_cli, machine_only, running
from modes_world import configure
from watched import attribute, written

FLEX, B60 = "0000-4d-00-0-0x56c0", "0000-9a-00-0-0xe211"
FLEX_BDF, B60_BDF = "0000:4d:00.0", "0000:9a:00.0"
DEVICES = "bus/pci/devices"


@pytest.fixture
def node() -> Iterator[SimulatedNode]:
    # No rescan comes to help: what is seen here is seen because of an event.
    with running("two-gpus", "--rescan-seconds=3600") as node:
        yield node
        assert is_alive(node)


def test_a_pulled_gpu_is_tainted_then_removed_then_back(node: SimulatedNode) -> None:
    node.api.forget_requests()
    control(node, "unplug", bdf=B60_BDF)
    wait_until(lambda: B60 not in names(node), "the device to go")
    # First the taint, which a missed look could not turn into an eviction; only the confirmed absence removes it.
    assert written(node, B60) == [["absent"], ["removed"]]
    assert names(node) == [FLEX]
    control(node, "plug", bdf=B60_BDF)
    wait_until(lambda: B60 in names(node), "the device to be back")
    assert taints(node, B60) == []
    ref = allocated(node, "again", B60)
    assert node.resolve(node.prepare(ref)).device_nodes
    node.unprepare(ref)
    assert node.leftovers() == []
    assert_no_surprise(node)


@pytest.mark.scenario(49)
def test_a_pulled_gpu_that_a_claim_holds_stays_tainted_and_can_be_cleaned_up(node: SimulatedNode) -> None:
    ref = allocated(node, "user", B60)
    node.prepare(ref)
    before = node.leftovers()
    control(node, "unplug", bdf=B60_BDF)
    wait_until(lambda: taints(node, B60) == ["absent"], "the taint")
    # No container could start with it now, and what is known of the claim stays.
    for late in (ref, allocated(node, "late", B60)):
        assert f"device {B60} is not on this node" in refusal(node, late)
    assert node.leftovers() == before
    node.unprepare(ref)
    assert node.leftovers() == []
    # The doorbell of unprepare, or the next event, lets it go.
    control(node, "unplug", bdf=FLEX_BDF)
    wait_until(lambda: names(node) == [], "both to be gone")
    # A pool without devices is still a pool: the scheduler sees that the driver is there.
    assert len(node.slices()) == 1


@pytest.mark.defect(9)
def test_a_gpu_that_is_plugged_in_is_as_complete_as_one_that_was_there(node: SimulatedNode) -> None:
    (before,) = (device for device in node.devices() if device["name"] == B60)
    assert before["capacity"]["memory"]
    control(node, "unplug", bdf=B60_BDF)
    wait_until(lambda: names(node) == [FLEX], "the device to go")
    control(node, "plug", bdf=B60_BDF)
    wait_until(lambda: before in node.devices(), "the device to be back with its memory")


@pytest.mark.defect(9)
def test_virtual_functions_appear_and_vanish_in_the_slices(node: SimulatedNode) -> None:
    before = names(node)
    write(node, f"{DEVICES}/{B60_BDF}/sriov_numvfs", "3")
    vfs = [f"0000-9a-00-{number}-0xe211" for number in (1, 2, 3)]
    wait_until(lambda: set(names(node)) == {*before, *vfs}, "three VFs")
    assert {attribute(node, vf, "type") for vf in vfs} == {"vf"}
    assert {attribute(node, vf, "driver") for vf in vfs} == {"xe"}
    # Whole GPUs first, VFs next, the PF whose memory they share last.
    assert names(node) == [FLEX, *vfs, B60]
    takes = {device["name"]: device.get("consumesCounters", []) for device in node.devices()}
    assert takes[FLEX] == []
    taken = {name: takes[name][0]["counters"]["vfs"]["value"] for name in (B60, *vfs)}
    assert taken == {B60: "7", **dict.fromkeys(vfs, "1")}
    # Two slices: the scheduler takes none of them if the counters are missing.
    assert sorted("sharedCounters" in each["spec"] for each in node.slices()) == [False, True]
    ref = allocated(node, "vf", vfs[1])
    edits = node.resolve(node.prepare(ref))
    assert len(edits.device_nodes) == 2
    node.unprepare(ref)
    write(node, f"{DEVICES}/{B60_BDF}/sriov_numvfs", "0")
    wait_until(lambda: names(node) == before, "the VFs to go")
    wait_until(lambda: len(node.slices()) == 1, "the counters to go with them")
    assert node.leftovers() == []
    assert_no_surprise(node)


@pytest.mark.defect(8)
def test_a_virtual_function_that_gets_its_kernel_driver_later_can_be_prepared(node: SimulatedNode) -> None:
    vf, bdf = "0000-9a-00-1-0xe211", "0000:9a:00.1"
    write(node, f"{DEVICES}/{B60_BDF}/sriov_drivers_autoprobe", "0")
    write(node, f"{DEVICES}/{B60_BDF}/sriov_numvfs", "1")
    wait_until(lambda: vf in names(node), "the VF")
    assert attribute(node, vf, "driver") == ""
    write(node, f"{DEVICES}/{B60_BDF}/sriov_drivers_autoprobe", "1")
    write(node, "bus/pci/drivers/xe/bind", bdf)
    wait_until(lambda: attribute(node, vf, "driver") == "xe", "its kernel driver")
    ref = allocated(node, "user", vf)
    paths = host_paths(node.resolve(node.prepare(ref)).device_nodes)
    assert len(paths) == 2
    assert all(Path(path).exists() for path in paths)
    node.unprepare(ref)
    assert node.leftovers() == []


@pytest.mark.defect(13)
def test_virtual_functions_that_vanish_under_their_claims_keep_nothing(node: SimulatedNode) -> None:
    before, vfs = names(node), [f"0000-9a-00-{number}-0xe211" for number in (1, 2)]
    write(node, f"{DEVICES}/{B60_BDF}/sriov_numvfs", "2")
    wait_until(lambda: set(vfs) <= set(names(node)), "the VFs")
    container, machine = (allocated(node, f"for-{vf}", vf) for vf in vfs)
    configure(node, machine, binding="vfio")
    assert len(node.resolve(node.prepare(container)).device_nodes) == 2
    # From its own kernel driver to VFIO.
    assert any("vfio" in path for path in node.resolve(node.prepare(machine)).device_nodes)
    write(node, f"{DEVICES}/{B60_BDF}/sriov_numvfs", "0")
    wait_until(lambda: all(taints(node, vf) == ["absent"] for vf in vfs), "the taints")
    for ref in (container, machine):
        node.unprepare(ref)
    wait_until(lambda: names(node) == before, "the VFs to go")
    assert node.leftovers() == []


@pytest.mark.defect(9)
def test_attributes_and_taints_follow_the_kernel_driver(node: SimulatedNode) -> None:
    write(node, "bus/pci/drivers/xe/unbind", B60_BDF)
    wait_until(lambda: attribute(node, B60, "driver") == "", "the device to be unbound")
    write(node, f"{DEVICES}/{B60_BDF}/driver_override", "vfio-pci")
    write(node, "bus/pci/drivers/vfio-pci/bind", B60_BDF)
    wait_until(lambda: attribute(node, B60, "driver") == "vfio-pci", "vfio-pci")
    assert taints(node, B60) == []
    write(node, "bus/pci/drivers/vfio-pci/unbind", B60_BDF)
    write(node, f"{DEVICES}/{B60_BDF}/driver_override", "\n")
    write(node, "bus/pci/drivers/xe/bind", B60_BDF)
    wait_until(lambda: taints(node, B60) == [] and attribute(node, B60, "driver") == "xe", "xe again")
    ref = allocated(node, "fine", B60)
    assert node.resolve(node.prepare(ref)).device_nodes
    node.unprepare(ref)
    assert node.leftovers() == []


def test_a_reboot_of_the_machine_alone_is_survived(node: SimulatedNode) -> None:
    """Nothing does this to a living driver; yet every path it reads vanishes and comes back."""
    control(node, "reboot")
    wait_until(lambda: gpu_cli_names(node) == names(node), "the slices to be right")
    assert is_alive(node)


def gpu_cli_names(node: SimulatedNode) -> list[str]:
    shown = gpu_cli("devices", f"--simulated-root={node.machine}").stdout.splitlines()
    return [line.split()[0] for line in shown[1:]]


def test_a_machine_whose_events_are_not_heard_is_rescanned() -> None:
    with machine_only("two-gpus") as node:
        node.start_driver("--rescan-seconds=1")
        node.wait_published()
        control(node, "stop")
        wait_until(lambda: "kernel events are not heard" in node.log.read_text(), "the complaint")
        # Nobody is behind the tree any more: a file in it changes without any event.
        numa = (node.machine / "sys" / DEVICES / B60_BDF).resolve() / "numa_node"
        numa.write_text("0\n")
        wait_until(lambda: attribute(node, B60, "resource.kubernetes.io/numaNode") == 0, "the rescan")
        complaints = [line for line in lines(node) if "kernel events are not heard" in line]
        assert len(complaints) == 1
        assert "simulate" in complaints[0]
