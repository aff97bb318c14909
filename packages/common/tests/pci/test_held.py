"""A change that the kernel does not return from, since a virtual machine has the device open."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dra_common.deadline import Deadline
from dra_common.errors import HardwareBusy, HostWriteError, LockTimeout
from dra_common.pci import Binding, Bus, Setting, look
from dra_common.pci import helper as helper_module
from dra_common.pci.helper import Helper
from dra_common.testing.nic import PF
from dra_common.testing.waiting import wait_until
from pci.world import PARENT, World

VFIO, IGB = Binding("vfio-pci", "vfio-pci"), Binding("igb")
VF0, VF1 = "0000:01:10.0", "0000:01:10.2"
GROUP = "vfio/3"


@contextmanager
def brief(nic: World) -> Iterator[Bus]:
    """A bus for what blocks for ever."""
    with nic.bus(seconds=0.1, patience=0.1) as bus:
        yield bus


def helpers(nic: World) -> set[int]:
    """Processes that have the parent's lock file open: the lock lives as long as one of them."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            targets = {str(entry.readlink()) for entry in (process / "fd").iterdir()}
        except OSError:
            continue
        if str(nic.lock_file) in targets:
            found.add(int(process.name))
    return found - {os.getpid()}


def wait_free(nic: World) -> None:
    """Wait until nobody has the parent's lock, and nothing is left of who had it."""
    with nic.locks.parents([PARENT], Deadline.after(30)):
        pass
    wait_until(lambda: not helpers(nic), "the helper's end", seconds=30)
    assert nic.lock_file.read_bytes() == b""


def to_vfio(nic: World) -> None:
    with nic.bus() as bus:
        bus.rebind(PF, VFIO)


def test_a_blocked_unbind_is_given_up_at_the_deadline_with_device_step_cause_and_cure(nic: World) -> None:
    to_vfio(nic)
    with nic.using(GROUP):
        with brief(nic) as bus, pytest.raises(HardwareBusy) as caught:
            bus.unbind(PF, "vfio-pci")
        said = str(caught.value)
        assert said.startswith(f"{PF}: unbind vfio-pci: the kernel has not returned for 0 s, probably since")
        assert "end the virtual machine" in said
        assert caught.value.errno == errno.EBUSY
        wait_until(lambda: look(nic.host.sysfs, PF).driver == "", "the link to go", seconds=30)
        assert nic.host.devfs.exists(GROUP)
    wait_free(nic)
    assert not nic.host.devfs.exists(GROUP)


def test_the_parent_stays_locked_until_the_kernel_returns(nic: World) -> None:
    to_vfio(nic)
    with nic.using(GROUP):
        with brief(nic) as bus, pytest.raises(HardwareBusy):
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
        node = bus.wait_group_node(VF1)
    with nic.using(node):
        with (
            brief(nic) as bus,
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
    with nic.using(GROUP):
        with nic.locks.parents([PARENT], Deadline.after(0.1)):
            with Bus(nic.host, patience=0.1) as bus, pytest.raises(HardwareBusy):
                bus.unbind(PF, "vfio-pci")
            why = f"{PF}: .*: not begun: {PF}: unbind vfio-pci: the kernel has not returned"
            with Bus(nic.host, patience=0.1) as again, pytest.raises(HardwareBusy, match=why):
                again.restore(PF, Setting(IGB, autoprobe=True))
            # Another function of this parent: it may be stuck behind the first.
            with Bus(nic.host, patience=0.1) as again, pytest.raises(HardwareBusy, match="not begun"):
                again.probe("0000:02:00.0")
        assert len(helpers(nic)) == 1
    wait_free(nic)


def test_the_next_call_that_gets_the_lock_is_not_refused_while_the_helper_ends(
    nic: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel closes the files of a process before its parent can see its end."""
    to_vfio(nic)
    seen = threading.Event()
    real = helper_module._wait_for

    def late(*arguments: Any) -> None:
        arguments[0].stdin.close()
        arguments[0].wait()
        seen.wait(30)
        real(*arguments)

    monkeypatch.setattr(helper_module, "_wait_for", late)
    with nic.using(GROUP), brief(nic) as bus, pytest.raises(HardwareBusy):
        bus.unbind(PF, "vfio-pci")
    with nic.bus() as bus:
        timer = threading.Timer(0.3, seen.set)
        timer.start()
        bus.rebind(PF, IGB)
        assert bus.binding(PF) == IGB
        timer.join()
    wait_free(nic)


def test_a_read_that_needs_the_lock_of_the_device_is_not_begun_either(nic: World) -> None:
    to_vfio(nic)
    with nic.using(GROUP):
        with brief(nic) as bus, pytest.raises(HardwareBusy):
            bus.unbind(PF, "vfio-pci")
        with Bus(nic.host) as bus, pytest.raises(HardwareBusy, match="read driver_override: not begun"):
            bus.override(PF)
    wait_free(nic)
    with Bus(nic.host) as bus:
        assert bus.override(PF) == "vfio-pci"


def test_other_hardware_is_changed_meanwhile(nic: World) -> None:
    to_vfio(nic)
    with nic.using(GROUP):
        with brief(nic) as bus, pytest.raises(HardwareBusy):
            bus.unbind(PF, "vfio-pci")
        with nic.locks.parents(["another"], Deadline.after(20)), Bus(nic.host, patience=20) as bus:
            bus.bring("0000:02:00.0", Setting(IGB, autoprobe=True, vfs=(VFIO,)))
    wait_free(nic)


def test_a_driver_that_is_killed_leaves_the_lock_to_its_helper(nic: World) -> None:
    to_vfio(nic)
    program = str(Path(__file__).with_name("driver_process.py"))
    with nic.using(GROUP):
        driver = subprocess.Popen([sys.executable, program, str(nic.root), PF])
        wait_until(lambda: b"unbind vfio-pci" in nic.lock_file.read_bytes(), "the write", seconds=30)
        driver.kill()
        driver.wait()
        assert len(helpers(nic)) == 1
        with pytest.raises(LockTimeout, match=f"hardware nic is still locked: {PF}: unbind vfio-pci"):
            nic.locks.parents([PARENT], Deadline.after(0.1)).__enter__()
    wait_free(nic)
    assert look(nic.host.sysfs, PF).driver == ""
    with nic.bus() as bus:
        bus.bring(PF, Setting(IGB, autoprobe=True))
        assert bus.setting(PF) == Setting(IGB, autoprobe=True)


def test_polite_signals_do_not_end_a_helper_that_the_kernel_holds(nic: World) -> None:
    to_vfio(nic)
    with nic.using(GROUP):
        with brief(nic) as bus, pytest.raises(HardwareBusy):
            bus.unbind(PF, "vfio-pci")
        (helper,) = helpers(nic)
        os.kill(helper, 15)
        os.kill(helper, 2)
        with pytest.raises(LockTimeout):
            nic.locks.parents([PARENT], Deadline.after(0.2)).__enter__()
        assert helpers(nic) == {helper}
    wait_free(nic)


def test_a_call_that_everybody_has_left_does_not_wait_for_its_deadline(nic: World) -> None:
    to_vfio(nic)
    deadline = Deadline.after(1000)
    with nic.using(GROUP), nic.locks.parents([PARENT], deadline), Bus(nic.host, patience=0) as bus:
        timer = threading.Timer(0.1, deadline.end)
        timer.start()
        with pytest.raises(HardwareBusy):
            bus.unbind(PF, "vfio-pci")
        timer.join()
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
        wait_until(lambda: not helpers(nic), "its end", seconds=30)
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


def test_a_real_file_is_written_and_read_in_its_process(tmp_path: Path) -> None:
    helper = Helper(["x"], None, Deadline.after(20), 20)
    try:
        (tmp_path / "file").write_text("before")
        helper.doing = "x: try"
        assert helper.write(str(tmp_path / "file"), b"after!") == 6
        assert helper.read(str(tmp_path / "file"), 5) == b"after"
        assert helper.read(str(tmp_path / "file"), 50) == b"after!"
        with pytest.raises(FileNotFoundError):
            helper.write(str(tmp_path / "none"), b"x")
        with pytest.raises(OSError, match="Is a directory"):
            helper.write(str(tmp_path), b"x")
    finally:
        helper.close()


def test_a_simulator_that_is_away_is_told(nic: World) -> None:
    (nic.machine / "control.sock").rename(nic.machine / "away")
    with nic.bus() as bus, pytest.raises(HostWriteError, match="no simulated kernel"):
        nic.host.sysfs.write(f"bus/pci/devices/{PF}/reset", "1", bus._hand(PF, "x"))
    (nic.machine / "away").rename(nic.machine / "control.sock")
