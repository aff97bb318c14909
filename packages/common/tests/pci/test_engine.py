"""The real driver process changes PFs and VFs for claims; whatever happens to it, PFs are afterwards as found."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dra_common.model import ClaimRef
from dra_common.pci import Binding, Setting
from dra_common.simulate import ControlClient
from dra_common.testing.forks import Forker
from dra_common.testing.killer import Killer
from dra_common.testing.kubelet import KubeletCallError
from dra_common.testing.mortal import Orders
from dra_common.testing.nic import PF, SPARE
from dra_common.testing.nic.node import NicNode
from dra_common.testing.node import PrepareFailed
from dra_common.testing.waiting import wait_until

ALL = bool(os.environ.get("KILLS"))
_SOME = 4
"""Of how many changes of files one is taken where not all are; of hardware all are."""

VFIO = Binding("vfio-pci", "vfio-pci")
FOUND = Setting(Binding("igb", "igb"), autoprobe=False)
"""Not what a boot leaves: somebody has a reason for it."""

MODES: dict[str, tuple[dict[str, object], Setting]] = {
    "whole": ({}, FOUND),
    "whole-vfio": ({"binding": "vfio"}, Setting(VFIO, autoprobe=False)),
    "one-vf": ({"vfs": 1}, Setting(FOUND.binding, autoprobe=False, vfs=(Binding("igbvf"),))),
    "two-vfs-vfio": (
        {"vfs": 2, "binding": "vfio"},
        Setting(FOUND.binding, autoprobe=False, vfs=(VFIO, VFIO)),
    ),
    "seven-vfs": ({"vfs": 7}, Setting(FOUND.binding, autoprobe=False, vfs=(Binding("igbvf"),) * 7)),
}


@pytest.fixture
def node(short_tmp: Path, forker: Forker) -> Iterator[NicNode]:
    with NicNode(short_tmp, forker) as made:
        made.host.sysfs.write(f"bus/pci/devices/{PF}/driver_override", "igb")
        made.host.sysfs.write(f"bus/pci/devices/{PF}/sriov_drivers_autoprobe", "0")
        yield made


@contextmanager
def virtual_machine(node: NicNode, group: str) -> Iterator[None]:
    """Have the PF open through its group."""
    client = ControlClient(node.machine)
    with client.connect() as connection, connection.makefile("rwb") as stream:
        assert client.exchange(stream, "open", node=group, bdf=PF)["ok"]
        yield


@pytest.mark.parametrize("mode", MODES)
def test_a_claim_gets_its_mode_and_the_pf_is_afterwards_as_found(node: NicNode, mode: str) -> None:
    config, wanted = MODES[mode]
    node.start_driver()
    ref = node.nic_claim("one", PF, **config)
    edits = node.resolve(node.prepare(ref))
    assert node.setting(PF) == wanted
    given = edits.env["NIC"].split(",")
    assert len(given) == max(1, len(wanted.vfs))
    assert (given == [PF]) is not bool(wanted.vfs)
    groups = {str(edit["hostPath"]) for edit in edits.device_nodes.values()}
    assert all(Path(path).exists() for path in groups)
    vfio = config.get("binding") == "vfio"
    assert len(groups) == (1 + len(given) if vfio else 0)
    node.unprepare(ref)
    assert node.setting(PF) == FOUND
    assert node.leftovers() == []


def test_what_would_harm_others_is_refused(node: NicNode) -> None:
    node.start_driver()
    shared = node.nic_claim("shared", SPARE, binding="vfio")
    assert "other devices are in its IOMMU group 4" in node.refusal(shared)
    assert "8 VFs are more than 7" in node.refusal(node.nic_claim("many", PF, vfs=8))
    node.host.sysfs.write(f"bus/pci/devices/{SPARE}/sriov_numvfs", "2")
    assert "it has 2 VFs that no claim made" in node.refusal(node.nic_claim("other", SPARE, vfs=1))
    assert node.leftovers() == []


def test_a_pf_that_was_found_without_a_driver_is_without_one_again(node: NicNode) -> None:
    node.start_driver()
    node.host.sysfs.write("bus/pci/drivers/igb/unbind", SPARE)
    ref = node.nic_claim("spare", SPARE)
    node.prepare(ref)
    assert node.setting(SPARE) == Setting(Binding("igb"), autoprobe=True)
    node.unprepare(ref)
    assert node.setting(SPARE) == Setting(Binding(), autoprobe=True)


def test_a_function_that_is_pulled_is_forgotten(node: NicNode) -> None:
    node.start_driver()
    ref = node.nic_claim("one", PF, vfs=2, binding="vfio")
    node.prepare(ref)
    ControlClient(node.machine).request("unplug", bdf=PF)
    node.unprepare(ref)
    assert node.leftovers() == []


def points(changes: list[str], kind: str, offset: int) -> Iterator[Orders]:
    """Where to be killed: at every change of hardware, and before every fourth of the others."""
    hardware = 0
    for number, line in enumerate(changes, 1):
        if " hardware " in line:
            hardware += 1
            yield Orders.parse(f"{kind} {hardware} only=hardware")
        elif ALL or (kind == "kill-before" and number % _SOME == offset % _SOME):
            yield Orders.parse(f"{kind} {number}")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["kill-before", "kill-after"])
@pytest.mark.parametrize("mode", ["whole-vfio", "two-vfs-vfio"])
def test_killed_at_any_change_the_pf_is_afterwards_as_found(
    node: NicNode, mode: str, kind: str, record_property: Callable[[str, object], None]
) -> None:
    config, wanted = MODES[mode]
    killer, kills, changes = Killer(node), 0, 0
    ref = node.nic_claim("one", PF, **config)
    killer.start()

    for call, offset in (("prepare", 0), ("unprepare", 1)):
        act: Callable[[ClaimRef], object] = getattr(node, call)
        if call == "unprepare":
            node.prepare(ref)
        killer.order(Orders())
        act(ref)
        made = killer.changes()
        changes += len(made)
        assert [line for line in made if " hardware " in line]
        for orders in points(made, kind, offset):
            node.unprepare(ref)
            if call == "unprepare":
                node.prepare(ref)
            if not killer.dies(orders, act, ref):
                # There was one change less than before; another thread may make it yet, and end the driver.
                node.kill_driver()
                killer.start()
                continue
            kills += 1
            killer.start()
            if call == "prepare":
                node.prepare(ref)
                assert node.setting(PF) == wanted
            node.unprepare(ref)
            assert node.setting(PF) == FOUND
            assert node.leftovers() == []
    assert kills >= 5
    record_property("kills", [f"pci/{mode}", f"SIGKILL {kind.removeprefix('kill-')}", changes, kills])


def hardware_writes(killer: Killer, ref: ClaimRef) -> range:
    """Start the driver and rehearse; the numbers of the changes of hardware in a prepare of this claim."""
    killer.start()
    killer.order(Orders())
    killer.node.prepare(ref)
    hardware = killer.changes_of_hardware()
    killer.node.unprepare(ref)
    return hardware


def test_killed_in_a_prepare_the_next_start_gives_the_pf_back(node: NicNode) -> None:
    killer = Killer(node)
    ref = node.nic_claim("one", PF, vfs=2, binding="vfio")
    hardware = hardware_writes(killer, ref)
    assert killer.dies(Orders("kill-after", hardware[-2], only="hardware"), node.prepare, ref)
    assert len(node.setting(PF).vfs) == 2
    killer.start()
    wait_until(lambda: node.setting(PF) == FOUND, "recovery", seconds=60)
    wait_until(lambda: node.leftovers() == [], "recovery", seconds=60)


def test_any_refusal_in_the_middle_is_undone(node: NicNode) -> None:
    killer = Killer(node)
    ref = node.nic_claim("one", PF, vfs=2, binding="vfio")
    hardware = hardware_writes(killer, ref)
    for at in hardware:
        killer.order(Orders("fail", at, errno.EIO, only="hardware"))
        said = node.refusal(ref)
        assert "(EIO)" in said
        assert "0000:01:" in said
        assert "kernel log" in said
        assert node.setting(PF) == FOUND
        assert node.leftovers() == []


@pytest.mark.timeout(300)
def test_a_virtual_machine_that_runs_on_blocks_only_its_own_device(node: NicNode) -> None:
    node.start_driver()
    ref = node.nic_claim("one", PF, binding="vfio")
    node.prepare(ref)
    node.kubelet._call_timeout = 10
    with virtual_machine(node, "vfio/3"):
        with pytest.raises(
            PrepareFailed, match=f"{PF}: unbind vfio-pci: the kernel has not returned for"
        ) as told:
            node.unprepare(ref)
        assert "end the virtual machine" in str(told.value)
        assert "failed" in node.ask("claims", f"--kubelet-plugins-dir={node.plugins}")
        with pytest.raises(PrepareFailed, match=f"is still locked: {PF}: unbind vfio-pci"):
            node.unprepare(ref)
        # Other hardware is served, also by the next life of the driver.
        other = node.nic_claim("other", SPARE, vfs=2)
        node.kubelet._call_timeout = 45
        node.prepare(other)
        node.kill_driver()
        node.start_driver()
        node.unprepare(other)
        node.kubelet._call_timeout = 10
        with pytest.raises(PrepareFailed, match=f"is still locked: {PF}: unbind vfio-pci"):
            node.unprepare(ref)
    node.kubelet._call_timeout = 45
    wait_until(lambda: _unprepared(node, ref), "the kernel to return", seconds=60)
    assert node.setting(PF) == FOUND
    assert node.leftovers() == []


def _unprepared(node: NicNode, ref: ClaimRef) -> bool:
    try:
        node.unprepare(ref)
    except PrepareFailed:
        return False
    return True


def test_what_was_blocked_is_given_back_without_another_call(node: NicNode) -> None:
    node.start_driver()
    ref = node.nic_claim("one", PF, binding="vfio")
    node.prepare(ref)
    node.kubelet._call_timeout = 2
    with virtual_machine(node, "vfio/3"), pytest.raises((PrepareFailed, KubeletCallError)):
        node.unprepare(ref)
    wait_until(lambda: node.leftovers() == [], "garbage collection", seconds=100)
    assert node.setting(PF) == FOUND
