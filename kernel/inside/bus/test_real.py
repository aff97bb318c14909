"""What has no counterpart on the simulated kernel, or would take too long here as it is tested there."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from dra_common.errors import HardwareBusy, HardwareRefused, HostError, HostNotFound, HostWriteError
from dra_common.host import RealHost, Roots
from dra_common.pci import Binding, Setting, look
from dra_common.testing.nic import PF
from pci.world import FOUND, IGB, NATIVE, STATES, VF0, VF1, VFIO, World, wait_free
from real import RealWorld, attached, group_open, viable

FOLDER = f"bus/pci/devices/{PF}"


@pytest.fixture
def vfio(nic: World) -> World:
    with nic.bus() as bus:
        bus.rebind(PF, VFIO)
    return nic


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[RealHost]:
    """This machine, as a container sees it that is not privileged."""
    place = tmp_path / "sys"
    place.mkdir()
    subprocess.run(["mount", "--bind", "/sys", place], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
    yield RealHost(Roots(sysfs=str(place)))
    subprocess.run(["umount", place], check=True)


# ---------------------------------------------------------------- the host


def test_what_a_driver_reads_of_a_function(nic: World) -> None:
    sysfs = nic.host.sysfs
    assert sysfs.read(f"{FOLDER}/device") == "0x10c9"
    assert sysfs.read(f"{FOLDER}/uevent").splitlines()[0] == "DRIVER=igb"
    assert sysfs.readlink(f"{FOLDER}/driver").endswith("/bus/pci/drivers/igb")
    assert sysfs.realpath(FOLDER).startswith("devices/pci0000:00/")
    assert PF in sysfs.listdir("bus/pci/devices")
    assert not sysfs.exists(f"{FOLDER}/physfn")


def test_every_function_can_be_looked_at(nic: World) -> None:
    names = nic.host.sysfs.listdir("bus/pci/devices")
    assert len(names) > 3
    assert [look(nic.host.sysfs, name).bdf for name in names] == list(names)


@pytest.mark.parametrize(
    ("path", "number"),
    [
        (f"{FOLDER}/reset", errno.EACCES),
        (f"{FOLDER}/config", errno.EILSEQ),
        (FOLDER, errno.EISDIR),
        (f"{FOLDER}/no_such_file", errno.ENOENT),
    ],
)
def test_what_cannot_be_read_is_told_by_errno(nic: World, path: str, number: int) -> None:
    with pytest.raises(HostError, match=errno.errorcode[number]) as refused:
        nic.host.sysfs.read(path)
    assert refused.value.errno == number


@pytest.mark.parametrize(
    ("path", "value", "number"),
    [
        (f"{FOLDER}/vendor", "0x8086", errno.EACCES),
        (f"{FOLDER}/sriov_numvfs", "100", errno.ERANGE),
        (f"{FOLDER}/sriov_numvfs", "", errno.EINVAL),
        (f"{FOLDER}/driver_override", "x" * 4096, errno.EINVAL),
        ("bus/pci/drivers/igbvf/bind", PF, errno.ENODEV),
    ],
)
def test_what_cannot_be_written_is_told_by_errno(nic: World, path: str, value: str, number: int) -> None:
    with pytest.raises(HostWriteError, match=errno.errorcode[number]) as refused:
        nic.host.sysfs.write(path, value)
    assert refused.value.errno == number


def test_the_boot_id_is_the_kernels(nic: World) -> None:
    assert nic.host.boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_a_sysfs_that_is_mounted_read_only_says_how_to_mount_it(nic: RealWorld, read_only: RealHost) -> None:
    with (
        replace(nic, host=read_only).bus() as bus,
        pytest.raises(HardwareRefused, match=r"EROFS.*without readOnly"),
    ):
        bus.set_autoprobe(PF, on=False)
    assert nic.read("sriov_drivers_autoprobe") == "1"


# ---------------------------------------------------------------- the bus


def test_every_state_is_reached_and_left(nic: World) -> None:
    with nic.bus(seconds=200, patience=60) as bus:
        for wanted in [*STATES[1:], FOUND]:
            bus.bring(PF, wanted)
            assert bus.setting(PF) == wanted


def test_a_probe_that_fails_is_told_with_its_errno(nic: World) -> None:
    """The driver of the PF, which refuses to be bound to a VF."""
    with nic.bus() as bus:
        bus.bring(PF, Setting(IGB, autoprobe=False, vfs=(Binding(),)))
        with pytest.raises(HardwareRefused, match=f"{VF0}: bind igb: the driver's probe failed .EINVAL."):
            bus.rebind(VF0, Binding("igb", "igb"))
        assert bus.look(VF0).driver == ""


def test_a_pf_that_was_removed_comes_back_bare(nic: World) -> None:
    with nic.bus() as bus:
        bus.bring(PF, Setting(IGB, autoprobe=False, vfs=(VFIO, NATIVE)))
        nic.outsider(f"{FOLDER}/remove", "1")
        for bdf in (PF, VF0, VF1):
            with pytest.raises(HostNotFound):
                bus.look(bdf)
        nic.outsider("bus/pci/rescan", "1")
        bus.wait(PF, "igb to be bound", lambda: bus.look(PF).driver == "igb")
        assert bus.setting(PF) == FOUND


def test_a_look_does_not_wait_for_the_kernel_though_a_read_of_numvfs_does(nic: World) -> None:
    with nic.bus() as bus:
        bus.bring(PF, Setting(IGB, autoprobe=True, vfs=(VFIO,)))
    with nic.using(VF0):
        with nic.brief("set the number of VFs to 0") as bus, pytest.raises(HardwareBusy):
            bus.set_vfs(PF, 0)
        reader = subprocess.Popen(["cat", f"/sys/{FOLDER}/sriov_numvfs"], stdout=subprocess.PIPE)
        with pytest.raises(subprocess.TimeoutExpired):
            reader.wait(nic.moment)
        assert look(nic.host.sysfs, PF).driver == "igb"
    assert reader.communicate(timeout=60)[0] == b"0\n"
    wait_free(nic)


# ---------------------------------------------------------------- groups


def test_a_group_is_open_once(vfio: World) -> None:
    with group_open(vfio.node()), pytest.raises(OSError, match="busy") as refused, group_open(vfio.node()):
        pass
    assert refused.value.errno == errno.EBUSY


@contextmanager
def opened(node: str) -> Iterator[int]:
    with group_open(node) as (_, group):
        yield group


@pytest.mark.parametrize("how", [opened, attached])
def test_only_an_open_device_keeps_its_driver_not_an_open_group(
    vfio: World, how: Callable[[str], AbstractContextManager[int]]
) -> None:
    with how(vfio.node()), vfio.bus() as bus:
        bus.rebind(PF, IGB)
        assert bus.binding(PF) == IGB


def test_a_group_with_a_member_on_another_driver_is_not_viable(nic: World) -> None:
    group = nic.group(nic.spare)
    with nic.bus() as bus:
        bus.bring(nic.spare, Setting(IGB, autoprobe=False, vfs=(VFIO, NATIVE)))
        vfs = bus.look(nic.spare).vfs
        assert {nic.group(vf) for vf in vfs.values()} == {group}
        node = bus.wait_group_node(vfs[0])
    with opened(node) as descriptor:
        assert not viable(descriptor)
    with pytest.raises(PermissionError), attached(node):
        pass
    with nic.bus() as bus:
        bus.bring(nic.spare, Setting(VFIO, autoprobe=True))
    with opened(node) as descriptor:
        assert viable(descriptor)


def test_a_device_is_usable_through_its_group_alone(vfio: World) -> None:
    """Debian's kernels have neither /dev/iommu nor a node for each device."""
    assert not Path("/dev/iommu").exists()
    assert {path.name for path in Path("/dev/vfio").iterdir()} == {"vfio", vfio.group()}
    with vfio.using(PF):
        pass
