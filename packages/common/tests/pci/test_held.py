"""A change that the kernel does not return from, since a virtual machine has the device open.

Played on the simulated kernel, and on a real one by kernel/inside/bus.
"""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
from pathlib import Path

import pytest
from dra_common.deadline import Deadline
from dra_common.errors import HardwareBusy, LockTimeout
from dra_common.pci import Bus, Setting, look
from dra_common.pci.helper import Helper
from dra_common.testing.nic import PF
from dra_common.testing.waiting import wait_until
from pci.world import IGB, PARENT, VF1, VFIO, World, helpers, to_vfio, wait_free


def test_a_blocked_unbind_is_given_up_at_the_deadline_with_device_step_cause_and_cure(nic: World) -> None:
    to_vfio(nic)
    with nic.using(PF):
        why = f"^{PF}: unbind vfio-pci: the kernel has not returned for [0-9]+ s, probably since"
        with nic.brief() as bus, pytest.raises(HardwareBusy, match=why) as caught:
            bus.unbind(PF, "vfio-pci")
        assert "end the virtual machine" in str(caught.value)
        assert caught.value.errno == errno.EBUSY
        wait_until(lambda: look(nic.host.sysfs, PF).driver == "", "the link to go", seconds=60)
        assert nic.node()
    wait_free(nic)
    assert not nic.node()


def test_a_function_is_enabled_while_it_is_open_through_vfio(nic: World) -> None:
    enabled = f"bus/pci/devices/{PF}/enable"
    assert nic.host.sysfs.read(enabled) == "1"
    to_vfio(nic)
    assert nic.host.sysfs.read(enabled) == "0"
    with nic.using(PF):
        assert nic.host.sysfs.read(enabled) == "1"
    wait_until(lambda: nic.host.sysfs.read(enabled) == "0", "the function to be closed", seconds=60)


def test_the_parent_stays_locked_until_the_kernel_returns(nic: World) -> None:
    to_vfio(nic)
    with nic.using(PF):
        with nic.brief() as bus, pytest.raises(HardwareBusy):
            bus.unbind(PF, "vfio-pci")
        assert len(helpers(nic)) == 1
        why = f"hardware nic is still locked: {PF}: unbind vfio-pci: the kernel has not returned.*end the virtual"
        with pytest.raises(LockTimeout, match=why):
            nic.locks.parents([PARENT], Deadline.after(0)).__enter__()
        with nic.locks.parents(["another"], Deadline.after(0)):
            pass
    wait_free(nic)
    with nic.bus() as bus:
        bus.rebind(PF, IGB)
        assert bus.binding(PF) == IGB


def test_removing_vfs_waits_for_the_user_of_one_of_them(nic: World) -> None:
    with nic.bus() as bus:
        bus.bring(PF, Setting(IGB, autoprobe=True, vfs=(VFIO, VFIO)))
        bus.wait_group_node(VF1)
    with nic.using(VF1):
        with (
            nic.brief("set the number of VFs to 0") as bus,
            pytest.raises(HardwareBusy, match=f"{PF}: set the number of VFs to 0: the kernel"),
        ):
            bus.restore(PF, Setting(IGB, autoprobe=True))
        assert len(helpers(nic)) == 1
    wait_free(nic)
    with nic.bus() as bus:
        bus.restore(PF, Setting(IGB, autoprobe=True))
        assert bus.setting(PF) == Setting(IGB, autoprobe=True)


def test_what_is_undone_in_the_same_call_begins_nothing_beside_the_blocked_change(nic: World) -> None:
    to_vfio(nic)
    with nic.using(PF):
        with nic.locks.parents([PARENT], Deadline.after(nic.moment)):
            with Bus(nic.host, patience=nic.moment) as bus, pytest.raises(HardwareBusy):
                bus.unbind(PF, "vfio-pci")
            why = f"{PF}: .*: not begun: {PF}: unbind vfio-pci: the kernel has not returned"
            with Bus(nic.host, patience=nic.moment) as again, pytest.raises(HardwareBusy, match=why):
                again.restore(PF, Setting(IGB, autoprobe=True))
            # Another function of this parent: it may be stuck behind the first.
            with Bus(nic.host, patience=nic.moment) as again, pytest.raises(HardwareBusy, match="not begun"):
                again.probe(nic.spare)
        assert len(helpers(nic)) == 1
    wait_free(nic)


def test_a_read_that_needs_the_lock_of_the_device_is_not_begun_either(nic: World) -> None:
    to_vfio(nic)
    with nic.using(PF):
        with nic.brief() as bus, pytest.raises(HardwareBusy):
            bus.unbind(PF, "vfio-pci")
        with Bus(nic.host) as bus, pytest.raises(HardwareBusy, match="read driver_override: not begun"):
            bus.override(PF)
    wait_free(nic)
    with Bus(nic.host) as bus:
        assert bus.override(PF) == "vfio-pci"


def test_other_hardware_is_changed_meanwhile(nic: World) -> None:
    to_vfio(nic)
    with nic.using(PF):
        with nic.brief() as bus, pytest.raises(HardwareBusy):
            bus.unbind(PF, "vfio-pci")
        with nic.locks.parents(["another"], Deadline.after(60)), Bus(nic.host, patience=60) as bus:
            bus.bring(nic.spare, Setting(IGB, autoprobe=True, vfs=(VFIO,)))
    wait_free(nic)


def test_a_driver_that_is_killed_leaves_the_lock_to_its_helper(nic: World) -> None:
    to_vfio(nic)
    with nic.using(PF):
        driver = subprocess.Popen([*nic.driver(), PF])
        wait_until(lambda: b"unbind vfio-pci" in nic.lock_file.read_bytes(), "the write", seconds=60)
        driver.kill()
        driver.wait()
        assert len(helpers(nic)) == 1
        with pytest.raises(LockTimeout, match=f"hardware nic is still locked: {PF}: unbind vfio-pci"):
            nic.locks.parents([PARENT], Deadline.after(nic.moment)).__enter__()
    wait_free(nic)
    assert look(nic.host.sysfs, PF).driver == ""
    with nic.bus() as bus:
        bus.bring(PF, Setting(IGB, autoprobe=True))
        assert bus.setting(PF) == Setting(IGB, autoprobe=True)


def test_polite_signals_do_not_end_a_helper_that_the_kernel_holds(nic: World) -> None:
    to_vfio(nic)
    with nic.using(PF):
        with nic.brief() as bus, pytest.raises(HardwareBusy):
            bus.unbind(PF, "vfio-pci")
        (helper,) = helpers(nic)
        os.kill(helper, 15)
        os.kill(helper, 2)
        with pytest.raises(LockTimeout):
            nic.locks.parents([PARENT], Deadline.after(0.2)).__enter__()
        assert helpers(nic) == {helper}
    wait_free(nic)


def test_nothing_is_left_of_a_helper_that_was_not_abandoned(nic: World) -> None:
    with nic.bus() as bus:
        bus.unbind(PF, "igb")
        assert len(helpers(nic)) == 1
    assert helpers(nic) == set()
    assert nic.lock_file.read_bytes() == b""


def test_a_helper_that_is_killed_is_told_and_replaced(nic: World) -> None:
    with nic.bus() as bus:
        bus.unbind(PF, "igb")
        (helper,) = helpers(nic)
        os.kill(helper, 9)
        wait_until(lambda: not helpers(nic), "its end", seconds=60)
        with pytest.raises(OSError, match=r"the process that does it has ended \(exit code -9\)"):
            Helper.read(bus._helper, "/dev/null", 1)  # type: ignore[arg-type]
        bus.bind(PF, "igb")
        assert bus.look(PF).driver == "igb"


def test_a_helper_inherits_nothing_but_the_locks(nic: World) -> None:
    with nic.bus() as bus, (nic.root / "secret").open("w") as secret:
        fcntl.fcntl(secret, fcntl.F_SETFD, 0)
        bus.override(PF)
        (helper,) = helpers(nic)
        names = {str(entry.readlink()) for entry in Path(f"/proc/{helper}/fd").iterdir()}
        pipes = {name for name in names if name.startswith("pipe:")}
        stderr = str(Path("/proc/self/fd/2").readlink())
        assert names - pipes - {stderr} == {str(nic.lock_file)}
