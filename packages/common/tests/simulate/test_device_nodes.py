"""Real character devices of a simulated machine: made as root by the real mknod(2), opened by the real open(2).

They need CAP_MKNOD. Without it these tests fail in CI; a developer who is not root is told why they are not run.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from dra_common.errors import SettingsError
from dra_common.simulate import Profile, SimulatedHost, Simulation, Simulator, find_profile, write_tree
from dra_common.simulate.device_nodes import unserved_major

RUNC_ALLOWS = {1, 5, 10, 136}
"""Majors of what runc lets every container open; the full list has minors too."""

PF = "0000:01:00.0"


@pytest.fixture
def permitted() -> None:
    if os.geteuid() != 0 and "CI" not in os.environ:
        pytest.skip("mknod(2) needs root: run these as root")


def nodes(root: Path) -> dict[str, os.stat_result]:
    found = {path.relative_to(root / "dev").as_posix(): path.lstat() for path in (root / "dev").rglob("*")}
    return {name: stat for name, stat in found.items() if not is_folder_or_link(stat)}


def is_folder_or_link(found: os.stat_result) -> bool:
    return stat.S_ISDIR(found.st_mode) or stat.S_ISLNK(found.st_mode)


def refused(path: Path) -> int:
    """The errno of opening it."""
    with pytest.raises(OSError, match=r".") as caught:
        os.close(os.open(path, os.O_RDWR))
    return caught.value.errno or 0


@pytest.mark.usefixtures("permitted")
def test_nodes_are_real_and_lead_nowhere(simulation: Simulation, root: Path) -> None:
    write_tree(simulation, find_profile(simulation, "nic"), root, device_nodes=True)
    found = nodes(root)
    assert {"dri/card0", "dri/card1", "dri/renderD128", "vfio/vfio"} <= found.keys()
    assert all(stat.S_ISCHR(each.st_mode) for each in found.values())
    assert {os.major(each.st_rdev) for each in found.values()} == {unserved_major()}
    for name in found:
        assert refused(root / "dev" / name) == errno.ENXIO
    assert stat.S_IMODE(found["dri/card1"].st_mode) == 0o660


@pytest.mark.usefixtures("permitted")
def test_no_two_nodes_have_the_same_number(simulation: Simulation, root: Path) -> None:
    # The device cgroup knows nothing else: a container that was given one would have the other too.
    with Simulator(simulation, find_profile(simulation, "nic"), root, device_nodes=True):
        tree = SimulatedHost(root).sysfs
        vf = f"bus/pci/devices/{PF}/virtfn0"
        tree.write(f"bus/pci/devices/{PF}/sriov_drivers_autoprobe", "0")
        tree.write(f"bus/pci/devices/{PF}/sriov_numvfs", "2")
        for link in (vf, vf.replace("virtfn0", "virtfn1")):
            tree.write(f"{link}/driver_override", "vfio-pci")
            tree.write("bus/pci/drivers_probe", Path(tree.readlink(link)).name)
        found = nodes(root)
        assert len({each.st_rdev for each in found.values()}) == len(found)
        before = {name for name in found if name.startswith("vfio/devices/")}
        assert len(before) == 2
        tree.write(f"bus/pci/devices/{PF}/sriov_numvfs", "0")
        assert before.isdisjoint(nodes(root))


@pytest.mark.usefixtures("permitted")
def test_sysfs_says_what_the_real_driver_would_say(simulation: Simulation, root: Path) -> None:
    write_tree(simulation, find_profile(simulation, "nic"), root, device_nodes=True)
    assert (root / "sys/class/drm/card1/dev").read_text() == "226:1\n"


@pytest.mark.usefixtures("permitted")
def test_an_interrupted_start_is_taken_over(simulation: Simulation, root: Path) -> None:
    write_tree(simulation, find_profile(simulation, "nic"), root)
    (root / ".node").touch()
    write_tree(simulation, find_profile(simulation, "nic"), root, device_nodes=True)
    assert stat.S_ISCHR((root / "dev/dri/card1").lstat().st_mode)
    assert not (root / ".node").exists()


def test_plain_files_unless_asked_for(simulation: Simulation, root: Path) -> None:
    write_tree(simulation, find_profile(simulation, "nic"), root)
    assert nodes(root)
    assert all(stat.S_ISREG(each.st_mode) for each in nodes(root).values())


def test_what_is_not_permitted_is_one_clear_error(
    simulation: Simulation, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mknod(path: Path, mode: int, device: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "mknod", mknod)
    with pytest.raises(SettingsError) as caught:
        write_tree(simulation, find_profile(simulation, "nic"), root, device_nodes=True)
    assert str(caught.value) == (
        f"cannot make device nodes in {root}: Operation not permitted (run as root with CAP_MKNOD, or do without"
        " device nodes: plain files then stand for them)"
    )
    assert not (root / "dev").exists()


# --------------------------------------------------------------------------- numbers


@pytest.fixture
def majors(tmp_path: Path) -> Callable[[str], int]:
    def choose(listed: str) -> int:
        (tmp_path / "devices").write_text(listed)
        return unserved_major(tmp_path / "devices")

    return choose


def test_a_major_that_somebody_serves_is_not_taken(majors: Callable[[str], int]) -> None:
    assert majors("Character devices:\n  1 mem\n226 drm\n\nBlock devices:\n120 other\n") == 120
    assert majors("Character devices:\n120 toy\n122 toy\n\nBlock devices:\n") == 121
    assert unserved_major() not in RUNC_ALLOWS


def test_no_major_is_left(majors: Callable[[str], int]) -> None:
    taken = "".join(f"{number} toy\n" for number in (*range(120, 128), *range(60, 64)))
    with pytest.raises(SettingsError, match="serve all majors for experimental use"):
        majors(f"Character devices:\n{taken}")


def test_a_list_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file or directory"):
        unserved_major(tmp_path / "none")


def test_an_empty_machine_needs_none(root: Path) -> None:
    write_tree(Simulation(profiles={}), Profile(name="none"), root)
    assert nodes(root) == {}
