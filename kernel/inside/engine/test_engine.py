"""Claims change the cards for real; whatever happens, the cards are afterwards as they were found."""

from __future__ import annotations

import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from card import SYSFS, Card, must
from dra_common.deadline import Deadline
from dra_common.errors import DeviceRefused, DraError, HardwareBusy, HardwareRefused, LockTimeout
from dra_common.model import ClaimRef, Phase
from dra_common.pci import Binding, Setting, group_node, look
from dra_common.testing.nic import PF
from dra_common.testing.rig import soon
from dra_common.testing.waiting import wait_until
from nicmodes import FOUND, MODES, NATIVE
from nicrig import SECONDS, NicRig
from real import device_open


@pytest.mark.parametrize("mode", MODES)
def test_a_claim_gets_its_mode_and_the_pf_is_afterwards_as_found(rig: NicRig, mode: str) -> None:
    config, wanted = MODES[mode]
    ref = rig.nic_claim("one", PF, **config)
    edits = rig.resolve(ref)
    assert rig.setting(PF) == wanted
    given = edits.env["NIC"].split(",")
    assert len(given) == max(1, len(wanted.vfs))
    assert (given == [PF]) is not bool(wanted.vfs)
    assert all(stat.S_ISCHR(Path(node).stat().st_mode) for node in edits.device_nodes)
    assert len(edits.device_nodes) == (1 + len(given) if config.get("binding") == "vfio" else 0)
    rig.unprepare(ref)
    assert rig.setting(PF) == FOUND
    assert rig.leftovers() == []


def test_what_would_harm_others_is_refused(rig: NicRig, spare: Card) -> None:
    with pytest.raises(DeviceRefused, match="other devices are in its IOMMU group"):
        rig.prepare(rig.nic_claim("shared", spare.name, binding="vfio"))
    with pytest.raises(DeviceRefused, match="8 VFs are more than 7"):
        rig.prepare(rig.nic_claim("many", PF, vfs=8))
    must(spare.folder / "sriov_numvfs", "2")
    with pytest.raises(DeviceRefused, match="it has 2 VFs that no claim made"):
        rig.prepare(rig.nic_claim("other", spare.name, vfs=1))
    assert rig.leftovers() == []


def test_a_card_that_is_removed_is_forgotten_and_comes_back_bare(rig: NicRig, card: Card) -> None:
    ref = rig.nic_claim("one", PF, vfs=2, binding="vfio")
    rig.prepare(ref)
    must(card.folder / "remove", "1")
    rig.unprepare(ref)
    assert rig.leftovers() == []
    must(SYSFS / "bus" / "pci" / "rescan", "1")
    assert rig.setting(PF) == Setting(Binding("igb"), autoprobe=True)
    rig.prepare(ref)
    assert len(rig.setting(PF).vfs) == 2
    rig.unprepare(ref)


def test_a_card_found_with_another_driver_has_it_again(rig: NicRig, card: Card) -> None:
    must(card.folder / "driver_override", "pci-stub")
    must(card.folder / "driver" / "unbind", PF)
    must(SYSFS / "bus" / "pci" / "drivers_probe", PF)
    found = rig.setting(PF)
    assert found == Setting(Binding("pci-stub", "pci-stub"), autoprobe=False)
    ref = rig.nic_claim("one", PF, vfs=1)
    rig.prepare(ref)
    assert rig.setting(PF) == Setting(Binding("igb", "pci-stub"), autoprobe=False, vfs=(NATIVE,))
    rig.unprepare(ref)
    assert rig.setting(PF) == found


def test_a_refusal_in_the_middle_is_undone(rig: NicRig) -> None:
    """The VFs are there when it turns out that nothing can be bound to them."""
    subprocess.run(["/sbin/modprobe", "-r", "vfio-pci"], check=True)
    try:
        with pytest.raises(HardwareRefused, match="bind vfio-pci: this kernel driver is not loaded"):
            rig.prepare(rig.nic_claim("one", PF, vfs=2, binding="vfio"))
    finally:
        subprocess.run(["/sbin/modprobe", "vfio-pci"], check=True)
    assert rig.setting(PF) == FOUND
    assert rig.leftovers() == []


# ---------------------------------------------------------------- a virtual machine that does not let go


def unprepared(rig: NicRig, ref: ClaimRef) -> bool:
    try:
        rig.engine.unprepare(ref, soon(10))
    except DraError:
        return False
    return True


@contextmanager
def until_the_driver_has_gone(rig: NicRig) -> Iterator[Deadline]:
    """A deadline that comes when the kernel is at it, however slow everything is."""
    deadline = soon(SECONDS)

    def end() -> None:
        wait_until(lambda: not look(rig.host.sysfs, PF).driver, "the link to go", seconds=SECONDS)
        deadline.end()

    thread = threading.Thread(target=end)
    thread.start()
    try:
        yield deadline
    finally:
        thread.join()


def test_a_virtual_machine_that_runs_on_blocks_only_its_own_device(rig: NicRig, spare: Card) -> None:
    ref = rig.nic_claim("one", PF, binding="vfio")
    rig.prepare(ref)

    def told_that_it_is_locked(process: NicRig) -> None:
        with pytest.raises(LockTimeout, match=f"is still locked: {PF}: unbind vfio-pci"):
            process.engine.unprepare(ref, soon(1))

    with device_open(group_node(rig.host, look(rig.host.sysfs, PF).iommu_group), PF):
        told = f"{PF}: unbind vfio-pci: the kernel has not returned for"
        with pytest.raises(HardwareBusy, match=told), until_the_driver_has_gone(rig) as deadline:
            rig.engine.unprepare(ref, deadline)
        record = rig.records.load(ref.uid)
        assert record
        assert record.phase is Phase.FAILED
        assert "has not returned" in record.error
        assert set(rig.locks.stuck()) == {"0000-01-00-0"}
        # Another process, as after a restart of the driver: the kernel has the lock.
        assert rig.in_a_process(told_that_it_is_locked) == 0
        other = rig.nic_claim("other", spare.name, vfs=2)
        rig.prepare(other)
        assert len(rig.setting(spare.name).vfs) == 2
        rig.unprepare(other)
    wait_until(lambda: unprepared(rig, ref), "the kernel to return", seconds=60)
    assert rig.setting(PF) == FOUND
    assert rig.locks.stuck() == {}
    assert rig.leftovers() == []
