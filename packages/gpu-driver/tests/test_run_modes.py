"""A PF is divided for claims, and whole again afterwards: the real process on the simulated kernel."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dra_common.testing.allocator import Unsatisfiable
from dra_common.testing.killer import Killer
from dra_common.testing.mortal import Orders
from dra_common.testing.node import PrepareFailed, SimulatedNode
from dra_common.testing.waiting import wait_until
from driver_nodes import assert_no_surprise, names, put_status, reboot, virtual_machine, write
from gpu_nodes import allocated, by_address, machine_only
from modes_world import (
    B60,
    B60_BDF,
    CLASS,
    FLEX,
    FOUND,
    PARENT,
    bindings,
    claim,
    config,
    configure,
    devices,
    divisible,
    machine,
    make_class,
    roots,
    setting,
    state,
    vf_address,
)

ALL = [FLEX, B60, f"{B60}-vf4", f"{B60}-vf2", f"{B60}-vf1"]


@pytest.fixture
def node() -> Iterator[SimulatedNode]:
    with divisible() as node:
        yield node


def nodes_of(node: SimulatedNode, answer: object) -> list[str]:
    return sorted(path for path in node.resolve(answer).device_nodes if "by-path" not in path)  # type: ignore[arg-type]


# --------------------------------------------------------------------------- what is published


def test_each_mode_is_a_device_of_shares_that_excludes_the_others(node: SimulatedNode) -> None:
    assert names(node) == ALL
    seen = devices(node)
    mode = seen[f"{B60}-vf4"]
    attributes = {name: next(iter(value.values())) for name, value in mode["attributes"].items()}
    assert (
        attributes.items()
        >= {"mode": "vf4", "type": "vf", "model": "B60", "parent": B60_BDF, "vfMemoryMiB": 6016}.items()
    )
    assert not attributes.keys() & {"driver", "pciAddress", "resource.kubernetes.io/pciBusID", "vfIndex"}
    assert mode["allowMultipleAllocations"] is True
    one = {"default": "1", "validValues": ["1"]}
    share = {"default": "6016Mi", "validValues": ["6016Mi"]}
    assert mode["capacity"] == {
        "vfs": {"value": "4", "requestPolicy": one},
        "memory": {"value": "24064Mi", "requestPolicy": share},
    }
    takes = [{"counterSet": B60, "counters": {"mode": {"value": "1"}}}]
    assert [seen[name].get("consumesCounters") for name in ALL] == [None, takes, takes, takes, takes]


def test_what_the_scheduler_knows(node: SimulatedNode) -> None:
    claims = [claim(node, f"a-{number}", "vf2") for number in range(2)]
    for mode in ("vf2", "vf4", "vf1"):
        late = node.create_claim(f"late-{mode}", _asking(mode))
        assert isinstance(node.allocate(late), Unsatisfiable)
    whole = node.create_claim("whole", by_address(B60_BDF))
    assert isinstance(node.allocate(whole), Unsatisfiable)
    for ref in claims:
        node.delete_claim(ref)
    assert not isinstance(node.allocate(whole), Unsatisfiable)


def _asking(mode: str) -> dict[str, object]:
    selector = {"cel": {"expression": f'device.attributes["gpu.intel.com"].mode == "{mode}"'}}
    exactly = {"deviceClassName": CLASS, "selectors": [selector]}
    return {"devices": {"requests": [{"name": "gpu", "exactly": exactly}]}}


@pytest.mark.parametrize(
    "policy",
    [
        "",
        "devices: [{match: {model: Flex*}, sriov: {modes: [1]}}]\n",
        "manageBinding: false\ndevices: [{match: {}, sriov: {modes: [1]}}]\n",
        "devices: [{match: {}, sriov: {modes: [8, 31]}}]\n",
    ],
)
def test_no_mode_where_it_is_not_wanted_or_cannot_be(policy: str) -> None:
    """Mainline i915 makes no VFs, whatever it shows; xe here makes seven."""
    with divisible("two-gpus", policy) as node:
        assert names(node) == [FLEX, B60]
        assert not any("consumesCounters" in device for device in node.devices())


def test_a_pf_with_virtual_functions_of_somebody_else_has_no_modes(node: SimulatedNode) -> None:
    ref = claim(node, "late", "vf4")
    write(node, f"bus/pci/devices/{B60_BDF}/sriov_numvfs", "3")
    vfs = [f"0000-9a-00-{number}-0xe211" for number in (1, 2, 3)]
    wait_until(lambda: names(node) == [FLEX, *vfs, B60], "the VFs instead of the modes")
    assert "it has 3 virtual functions that no claim made" in node.refusal(ref)
    assert state(node)[0] == 3
    write(node, f"bus/pci/devices/{B60_BDF}/sriov_numvfs", "0")
    wait_until(lambda: names(node) == ALL, "the modes")
    node.prepare(ref)
    node.unprepare(ref)
    assert node.leftovers() == []


# --------------------------------------------------------------------------- life of a mode


def test_the_first_claim_divides_the_last_one_makes_whole_again(node: SimulatedNode) -> None:
    first, second = claim(node, "first", "vf4"), claim(node, "second", "vf4")
    given = nodes_of(node, node.prepare(first))
    assert len(given) == 2
    assert state(node) == (4, True, "xe", "")
    assert bindings(node) == {0: "xe"}
    other = nodes_of(node, node.prepare(second))
    assert not set(given) & set(other)
    assert bindings(node) == {0: "xe", 1: "xe"}
    # What is there for claims is not offered to others.
    write(node, f"bus/pci/devices/{B60_BDF}/uevent", "change")
    listed = node.ask("devices", config(node.root), *roots(node))
    assert [line.split()[0] for line in listed.splitlines()[1:]] == ALL
    assert names(node) == ALL
    node.unprepare(first)
    assert bindings(node) == {1: "xe"}
    # The lowest VF that is free, whoever came when.
    third = claim(node, "third", "vf4")
    assert nodes_of(node, node.prepare(third)) == given
    node.unprepare(second)
    node.unprepare(third)
    assert state(node) == FOUND
    assert names(node) == ALL
    assert node.leftovers() == []
    assert_no_surprise(node)


def test_a_share_for_a_virtual_machine_beside_one_for_a_container(node: SimulatedNode) -> None:
    vm, container = claim(node, "vm", "vf2", binding="vfio", iommu="legacy"), claim(node, "container", "vf2")
    given = nodes_of(node, node.prepare(vm))
    assert [path.rpartition("/")[0] for path in given] == ["/dev/vfio", "/dev/vfio"]
    assert any("/dri/" in path for path in nodes_of(node, node.prepare(container)))
    assert bindings(node) == {0: "xe-vfio-pci", 1: "xe"}
    node.unprepare(container)
    node.unprepare(vm)
    assert state(node) == FOUND
    assert node.leftovers() == []


def test_a_share_is_reset_before_somebody_else_has_it(killer: Killer) -> None:
    node = killer.node
    first, second = claim(node, "first", "vf2", reset="flr"), claim(node, "second", "vf2")
    stored: Any = node.api.get("ResourceClaim", first.name, first.namespace)
    stored["status"]["allocation"]["devices"]["config"][0]["source"] = "FromClass"
    put_status(node, first, stored["status"])
    node.prepare(first)
    node.prepare(second)
    vf = vf_address(node, 0)
    killer.order(Orders())
    node.unprepare(first)
    changes = [line for line in killer.changes() if " hardware " in line]
    assert changes[-1].endswith(f"{vf}/reset")
    node.unprepare(second)
    assert (state(node), node.leftovers()) == (FOUND, [])


def test_two_shares_of_one_claim(node: SimulatedNode) -> None:
    wanted = _asking("vf4")
    wanted["devices"]["requests"][0]["exactly"]["count"] = 1  # type: ignore[index]
    request = wanted["devices"]["requests"][0]  # type: ignore[index]
    wanted["devices"]["requests"].append({**request, "name": "second"})  # type: ignore[index]
    ref = node.create_claim("pair", wanted)
    node.allocate(ref)
    assert len(nodes_of(node, node.prepare(ref))) == 4
    assert bindings(node) == {0: "xe", 1: "xe"}
    node.unprepare(ref)
    assert state(node) == FOUND


def test_a_share_survives_restarts(node: SimulatedNode) -> None:
    ref = claim(node, "one", "vf4")
    answer = node.prepare(ref)
    given = nodes_of(node, answer)
    node.kill_driver()
    # It is not wanted any more: who has it keeps it.
    node.start_driver(config(node.root, ""))
    wait_until(lambda: names(node) == [FLEX, B60, f"{B60}-vf4"], "the other modes to go")
    assert _taints(node) == ["denied"]
    late = allocated(node, "late", f"{B60}-vf1")
    assert "it is in mode vf4 for claim default/one" in node.refusal(late)
    assert devices(node)[B60]["consumesCounters"] == devices(node)[f"{B60}-vf4"]["consumesCounters"]
    assert (node.prepare(ref), nodes_of(node, answer)) == (answer, given)
    node.unprepare(ref)
    assert state(node) == FOUND
    wait_until(lambda: names(node) == [FLEX, B60], "the mode to go")
    assert node.leftovers() == []


@pytest.mark.defect(3)
def test_a_restart_changes_nothing_under_running_pods(killer: Killer) -> None:
    node = killer.node
    share, whole = claim(node, "share", "vf2", binding="vfio"), allocated(node, "whole", FLEX)
    configure(node, whole, binding="vfio")
    answers = [node.prepare(ref) for ref in (share, whole)]
    found = state(node), bindings(node)
    assert found == ((2, True, "xe", ""), {0: "xe-vfio-pci"})
    node.kill_driver()
    killer.start()
    late = allocated(node, "late", FLEX), allocated(node, "later", B60)
    assert all("for claim default/" in said or "held by claim" in said for said in map(node.refusal, late))
    assert [node.prepare(ref) for ref in (share, whole)] == answers
    assert not killer.changes_of_hardware()
    assert (state(node), bindings(node)) == found
    for ref in (share, whole):
        node.unprepare(ref)
    assert (state(node), node.leftovers()) == (FOUND, [])


def test_after_a_reboot_a_claim_gets_its_share_again(node: SimulatedNode) -> None:
    ref = claim(node, "one", "vf2")
    answer = node.prepare(ref)
    node.kill_driver()
    reboot(node)
    node.start_driver(config(node.root))
    assert state(node) == FOUND
    assert node.prepare(ref) == answer
    assert state(node)[0] == 2
    node.unprepare(ref)
    assert state(node) == FOUND
    assert node.leftovers() == []


def test_a_whole_gpu_and_a_mode_exclude_each_other_even_if_the_scheduler_does_not_know(
    node: SimulatedNode,
) -> None:
    share = claim(node, "share", "vf4")
    whole = allocated(node, "whole", B60)
    node.prepare(whole)
    said = node.refusal(share)
    assert f"{PARENT} cannot be in mode vf4: it is in mode whole for claim default/whole" in said
    node.unprepare(whole)
    node.prepare(share)
    assert "it is in mode vf4 for claim default/share" in node.refusal(whole)
    node.unprepare(share)
    assert (state(node), node.leftovers()) == (FOUND, [])


def test_a_mode_can_be_cordoned_by_its_name(node: SimulatedNode) -> None:
    assert f"cordoned {B60}-vf4" in node.ask("devices", "cordon", f"{B60}-vf4", *roots(node))
    wait_until(lambda: _taints(node) == ["cordoned"], "the taint")
    node.ask("devices", "uncordon", f"{B60}-vf4", f"--kubelet-plugins-dir={node.plugins}")
    wait_until(lambda: _taints(node) == [], "the taint to go")


def test_who_only_looks_on_changes_nothing(node: SimulatedNode) -> None:
    spy = allocated(node, "spy", f"{B60}-vf4", adminAccess=True)
    assert node.prepare(spy)[0].cdi_ids == ()
    assert state(node) == FOUND
    node.unprepare(spy)


# --------------------------------------------------------------------------- outsiders


def test_what_an_outsider_changed_is_not_joined_and_set_right_at_the_end(node: SimulatedNode) -> None:
    first, second = claim(node, "first", "vf4"), claim(node, "second", "vf4")
    node.prepare(first)
    for number in ("0", "3"):
        write(node, f"bus/pci/devices/{B60_BDF}/sriov_numvfs", number)
        wait_until(lambda: "unexpected-driver" in _taints(node), "the taint")
        assert f"it has {number} virtual functions by now" in node.refusal(second)
    assert names(node) == ALL
    node.unprepare(first)
    assert state(node) == FOUND
    node.prepare(second)
    wait_until(lambda: _taints(node) == [], "the taint to go")
    node.unprepare(second)
    assert (state(node), node.leftovers()) == (FOUND, [])


def _taints(node: SimulatedNode) -> list[str]:
    found = devices(node)[f"{B60}-vf4"].get("taints", ())
    return [taint["key"].removeprefix("gpu.intel.com/") for taint in found]


def test_a_virtual_function_that_somebody_unknown_has_open_is_given_to_nobody(node: SimulatedNode) -> None:
    first, second = claim(node, "first", "vf2"), claim(node, "second", "vf2")
    node.prepare(first)
    vf = vf_address(node, 1)
    write(node, f"bus/pci/devices/{vf}/driver_override", "vfio-pci")
    write(node, "bus/pci/drivers_probe", vf)
    with virtual_machine(node, vf):
        said = node.refusal(second)
        assert "all of its virtual functions are in use; number 1 perhaps by a virtual machine" in said
    node.prepare(second)
    assert bindings(node) == {0: "xe", 1: "xe"}
    node.unprepare(first)
    node.unprepare(second)
    assert (state(node), node.leftovers()) == (FOUND, [])


def test_less_memory_than_promised_gives_all_back(tmp_path: Path) -> None:
    """Provisioned by hand, which xe shows since Linux 7.1."""
    with divisible(machine(tmp_path, "kernel: 6.19.0", "kernel: 7.1.0")) as node:
        assert devices(node)[f"{B60}-vf2"]["attributes"]["vfMemoryMiB"] == {"int": 8192}
        for number in (1, 2):
            write(node, f"bus/pci/devices/{B60_BDF}/sriov_admin/vf{number}/profile/vram_quota", str(1 << 30))
        ref = claim(node, "one", "vf2")
        assert "has 1024 MiB of memory, 8192 MiB were promised" in node.refusal(ref)
        assert (state(node), node.leftovers()) == (FOUND, [])


def test_fewer_virtual_functions_than_asked_for_are_given_back(tmp_path: Path) -> None:
    with divisible(machine(tmp_path, "max_vfs: 7", "max_vfs: 7, most_vfs: 3")) as node:
        node.kubelet._call_timeout = 7
        ref = claim(node, "one", "vf4")
        assert f"{B60_BDF}: 4 VFs: not so after" in node.refusal(ref)
        wait_until(lambda: state(node) == FOUND, "all to be given back")
        assert node.leftovers() == []
        node.delete_claim(ref)
        two = claim(node, "two", "vf2")
        node.prepare(two)
        node.unprepare(two)


def test_a_number_that_the_kernel_refuses(node: SimulatedNode) -> None:
    """ERANGE: the policy allowed it, and the driver of the PF was changed since it was published."""
    ref = allocated(node, "too-many", f"{B60}-vf9")
    assert "the configuration does not allow this mode" in node.refusal(ref)
    node.kill_driver()
    node.start_driver(config(node.root, "devices: [{match: {}, sriov: {modes: [9]}}]\n"))
    assert "it has fewer VFs (sriov_totalvfs) (ERANGE)" in node.refusal(ref)
    assert (state(node), node.leftovers()) == (FOUND, [])


def test_what_was_given_back_is_not_given_back_again_under_the_next_claim(node: SimulatedNode) -> None:
    """An unprepare fails after the VF is free; another claim has it when it is tried again."""
    first, second, third = (claim(node, name, "vf4") for name in ("first", "second", "third"))
    node.prepare(first)
    node.prepare(third)
    (path,) = node.cdi.glob(f"*{first.uid}*")
    path.unlink()
    (path / "in the way").mkdir(parents=True)
    with pytest.raises(PrepareFailed, match=r"directory"):
        node.unprepare(first)
    given = nodes_of(node, node.prepare(second))
    assert bindings(node) == {0: "xe", 1: "xe"}
    (path / "in the way").rmdir()
    path.rmdir()
    node.unprepare(first)
    assert bindings(node) == {0: "xe", 1: "xe"}
    assert nodes_of(node, node.prepare(second)) == given
    node.unprepare(second)
    node.unprepare(third)
    assert (state(node), node.leftovers()) == (FOUND, [])


def test_a_virtual_function_that_was_made_for_a_mode_is_given_to_nobody_by_its_own_name(
    node: SimulatedNode,
) -> None:
    """Its name is that of one that an operator had made by hand, and that a claim was allocated then."""
    share, late = claim(node, "share", "vf4"), allocated(node, "late", "0000-9a-00-1-0xe211")
    node.prepare(share)
    assert f"it is there for claims on vf4 of {B60_BDF}" in node.refusal(late)
    node.unprepare(share)
    write(node, f"bus/pci/devices/{B60_BDF}/sriov_numvfs", "1")
    assert len(nodes_of(node, node.prepare(late))) == 2
    node.unprepare(late)
    write(node, f"bus/pci/devices/{B60_BDF}/sriov_numvfs", "0")
    assert (state(node), node.leftovers()) == (FOUND, [])


def test_who_has_a_share_keeps_it_from_a_whole_claim_whatever_the_policy_says_by_now(
    node: SimulatedNode,
) -> None:
    share = claim(node, "share", "vf4")
    node.prepare(share)
    node.kill_driver()
    node.start_driver(config(node.root, ""))
    whole = allocated(node, "whole", B60)
    assert "it is in mode vf4 for claim default/share" in node.refusal(whole)
    node.unprepare(share)
    assert any("render" in path for path in nodes_of(node, node.prepare(whole)))
    node.unprepare(whole)
    assert (state(node), node.leftovers()) == (FOUND, [])


# --------------------------------------------------------------------------- killed, and failures


@pytest.fixture
def killer() -> Iterator[Killer]:
    with machine_only("two-gpus") as node:
        make_class(node)
        killer = Killer(node, config(node.root))
        killer.start()
        node.wait_published()
        yield killer


def test_a_failure_at_any_change_of_hardware_gives_all_back(killer: Killer) -> None:
    node = killer.node
    ref = claim(node, "vm", "vf2", binding="vfio")
    killer.order(Orders())
    node.prepare(ref)
    changes = killer.changes_of_hardware()
    node.unprepare(ref)
    # Autoprobe off, VFs, autoprobe on; override, bind.
    assert len(changes) == 5
    for at in changes:
        for number in (errno.EIO, errno.EBUSY):
            killer.order(Orders("fail", at, number, only="hardware"))
            assert f"({errno.errorcode[number]})" in node.refusal(ref)
            assert (state(node), node.leftovers()) == (FOUND, [])


@pytest.mark.parametrize("kind", ["kill-before", "kill-after"])
def test_killed_at_any_change_of_hardware_all_is_as_found(killer: Killer, kind: str) -> None:
    node, ref = killer.node, claim(killer.node, "vm", "vf2", binding="vfio")
    killer.order(Orders())
    node.prepare(ref)
    changes = killer.changes_of_hardware()
    node.unprepare(ref)
    for at in changes:
        assert killer.dies(Orders.parse(f"{kind} {at} only=hardware"), node.prepare, ref)
        killer.start()
        wait_until(lambda: (state(node), node.leftovers()) == (FOUND, []), "recovery")
    node.prepare(ref)
    killer.order(Orders())
    other = claim(node, "other", "vf2")
    node.prepare(other)
    node.unprepare(other)
    assert setting(node).vfs[0].driver == "xe-vfio-pci"
    node.unprepare(ref)
    assert (state(node), node.leftovers()) == (FOUND, [])


@pytest.mark.parametrize("kind", ["kill-before", "kill-after"])
def test_killed_while_the_last_claim_gives_back(killer: Killer, kind: str) -> None:
    node, ref = killer.node, claim(killer.node, "one", "vf2")
    node.prepare(ref)
    killer.order(Orders())
    node.unprepare(ref)
    changes = killer.changes_of_hardware()
    assert changes
    for at in changes:
        node.prepare(ref)
        assert killer.dies(Orders.parse(f"{kind} {at} only=hardware"), node.unprepare, ref)
        killer.start()
        wait_until(lambda: (state(node), node.leftovers()) == (FOUND, []), "recovery")
        node.unprepare(ref)
