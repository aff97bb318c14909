"""The helper process, whatever the kernel."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from dra_common.deadline import Deadline
from dra_common.errors import HardwareBusy, HardwareRefused, HostWriteError
from dra_common.pci import Bus
from dra_common.pci import helper as helper_module
from dra_common.pci.helper import Helper
from dra_common.testing.nic import PF
from pci.simulated import SimulatedWorld
from pci.world import IGB, PARENT, World, to_vfio, wait_free


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
    with nic.using(PF), nic.brief() as bus, pytest.raises(HardwareBusy):
        bus.unbind(PF, "vfio-pci")
    with nic.bus() as bus:
        timer = threading.Timer(0.3, seen.set)
        timer.start()
        bus.rebind(PF, IGB)
        assert bus.binding(PF) == IGB
        timer.join()
    wait_free(nic)


def test_a_call_that_everybody_has_left_does_not_wait_for_its_deadline(nic: World) -> None:
    to_vfio(nic)
    deadline = Deadline.after(1000)
    with nic.using(PF), nic.locks.parents([PARENT], deadline), Bus(nic.host, patience=0) as bus:
        timer = threading.Timer(0.1, deadline.end)
        timer.start()
        with pytest.raises(HardwareBusy):
            bus.unbind(PF, "vfio-pci")
        timer.join()
    wait_free(nic)


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


def test_a_simulator_that_is_away_is_told(nic: SimulatedWorld) -> None:
    (nic.machine / "control.sock").rename(nic.machine / "away")
    with nic.bus() as bus, pytest.raises(HostWriteError, match="no simulated kernel"):
        nic.host.sysfs.write(f"bus/pci/devices/{PF}/reset", "1", bus._hand(PF, "x"))
    (nic.machine / "away").rename(nic.machine / "control.sock")


def test_a_call_has_one_process_which_has_ended_when_its_locks_are_given_back(nic: SimulatedWorld) -> None:
    with nic.locks.parents([PARENT], Deadline.after(30)):
        with Bus(nic.host) as bus:
            bus.set_autoprobe(PF, on=False)
            first = _process(bus)
        assert first.poll() is None
        with Bus(nic.host) as bus:
            with pytest.raises(HardwareRefused):
                bus.bind(PF, "nonsense")
            bus.set_autoprobe(PF, on=True)
            assert _process(bus) is first
    assert first.returncode == 0
    with nic.bus() as bus:
        bus.set_autoprobe(PF, on=True)
        assert _process(bus) is not first


def test_a_process_whose_answer_nobody_read_is_no_one_elses(
    nic: SimulatedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> bytes:
        raise MemoryError

    with nic.locks.parents([PARENT], Deadline.after(30)):
        with Bus(nic.host) as bus, monkeypatch.context() as patched:
            patched.setattr(Helper, "_answer", interrupted)
            with pytest.raises(MemoryError):
                bus.set_autoprobe(PF, on=False)
        with Bus(nic.host) as bus:
            assert bus.binding(PF) == IGB


def _process(bus: Bus) -> subprocess.Popen[bytes]:
    assert bus._helper
    assert bus._helper._process
    return bus._helper._process
