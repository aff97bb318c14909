"""Played on the simulated kernel, and on a real one by kernel/inside/bus."""

from __future__ import annotations

from pathlib import Path

import pytest
from dra_common.errors import HostError, HostNotFound
from dra_common.host import RealHost, Roots
from dra_common.pci import Function, group_members, group_node, look
from dra_common.testing.nic import PF
from pci.world import IGB, VF0, VF1, VFIO, World


def test_a_pf_without_vfs(nic: World) -> None:
    assert look(nic.host.sysfs, PF) == Function(
        PF, "igb", total_vfs=7, autoprobe=True, iommu_group=nic.group()
    )


def test_a_pf_and_its_vfs_know_each_other(nic: World) -> None:
    nic.outsider(f"bus/pci/devices/{PF}/sriov_numvfs", "2")
    assert look(nic.host.sysfs, PF).vfs == {0: VF0, 1: VF1}
    assert look(nic.host.sysfs, VF1) == Function(VF1, "igbvf", pf=PF, iommu_group=nic.group(VF1))


def test_each_function_behind_access_control_has_a_group_of_its_own(nic: World) -> None:
    nic.outsider(f"bus/pci/devices/{PF}/sriov_numvfs", "2")
    groups = [nic.group(bdf) for bdf in (PF, VF0, VF1)]
    assert all(group.isdecimal() for group in groups)
    members = [group_members(nic.host.sysfs, group) for group in groups]
    assert members == [(PF,), (VF0,), (VF1,)]
    nic.outsider(f"bus/pci/devices/{PF}/sriov_numvfs", "0")
    with pytest.raises(HostNotFound):
        group_members(nic.host.sysfs, groups[1])


def test_how_many_vfs_a_pf_has_is_not_known_without_its_driver(nic: World) -> None:
    nic.outsider("bus/pci/drivers/igb/unbind", PF)
    assert nic.read("sriov_totalvfs") == "8"
    assert look(nic.host.sysfs, PF) == Function(
        PF, "", total_vfs=None, autoprobe=True, iommu_group=nic.group()
    )


def test_what_is_no_pci_function_is_no_path_either(nic: World) -> None:
    for name in ("../../..", "0000:01:00", "0000:01:00.0/..", ""):
        with pytest.raises(HostError, match="is not the address of a PCI function"):
            look(nic.host.sysfs, name)


def test_a_function_that_is_not_there(nic: World) -> None:
    with pytest.raises(HostNotFound):
        look(nic.host.sysfs, "0000:ff:1f.7")


def test_a_group_has_a_node_while_a_vfio_driver_is_bound(nic: World) -> None:
    group = nic.group()
    assert group_node(nic.host, group) == group_node(nic.host, "") == ""
    with nic.bus() as bus:
        bus.rebind(PF, VFIO)
        assert bus.wait_group_node(PF) == f"vfio/{group}"
        assert nic.host.devfs.exists("vfio/vfio")
        bus.rebind(PF, IGB)
    assert group_node(nic.host, group) == ""


def test_a_node_without_an_iommu_is_found_by_its_other_name(tmp_path: Path) -> None:
    host = RealHost(Roots(devfs=str(tmp_path)))
    assert group_node(host, "3") == ""
    (tmp_path / "vfio").mkdir()
    (tmp_path / "vfio" / "noiommu-3").touch()
    assert group_node(host, "3") == "vfio/noiommu-3"


def test_members_of_a_shared_group(nic: World) -> None:
    members = group_members(nic.host.sysfs, nic.group(nic.spare))
    assert nic.spare in members
    assert {nic.group(other) for other in members} == {nic.group(nic.spare)}
    assert len(members) > 1
