from __future__ import annotations

import pytest
from dra_common.errors import HostError, HostNotFound
from dra_common.pci import Binding, Function, group_members, group_node, look
from dra_common.testing.nic import PF, SPARE
from pci.world import World

VFIO = Binding("vfio-pci", "vfio-pci")
VF0, VF1 = "0000:01:10.0", "0000:01:10.2"


def test_a_pf_without_vfs(nic: World) -> None:
    assert look(nic.host.sysfs, PF) == Function(PF, "igb", total_vfs=7, autoprobe=True, iommu_group="3")


def test_a_pf_and_its_vfs_know_each_other(nic: World) -> None:
    nic.outsider(f"bus/pci/devices/{PF}/sriov_numvfs", "2")
    assert look(nic.host.sysfs, PF).vfs == {0: VF0, 1: VF1}
    assert look(nic.host.sysfs, VF1) == Function(VF1, "igbvf", pf=PF, iommu_group="6")


def test_how_many_vfs_a_pf_has_is_not_known_without_its_driver(nic: World) -> None:
    nic.outsider("bus/pci/drivers/igb/unbind", PF)
    assert nic.read("sriov_totalvfs") == "8"
    assert look(nic.host.sysfs, PF) == Function(PF, "", total_vfs=None, autoprobe=True, iommu_group="3")


def test_what_is_no_pci_function_is_no_path_either(nic: World) -> None:
    for name in ("../../..", "0000:01:00", "0000:01:00.0/..", ""):
        with pytest.raises(HostError, match="is not the address of a PCI function"):
            look(nic.host.sysfs, name)


def test_a_function_that_is_not_there(nic: World) -> None:
    with pytest.raises(HostNotFound):
        look(nic.host.sysfs, "0000:ff:1f.7")


def test_a_group_has_a_node_while_a_vfio_driver_is_bound(nic: World) -> None:
    assert group_node(nic.host, "3") == group_node(nic.host, "") == ""
    with nic.bus() as bus:
        bus.rebind(PF, VFIO)
        assert bus.wait_group_node(PF) == "vfio/3"
    assert group_node(nic.host, "3") == "vfio/3"


def test_a_node_without_an_iommu_is_found_by_its_other_name(nic: World) -> None:
    (nic.machine / "dev/vfio/noiommu-3").touch()
    assert group_node(nic.host, "3") == "vfio/noiommu-3"


def test_members_of_a_shared_group(nic: World) -> None:
    assert group_members(nic.host.sysfs, "4") == (SPARE, "0000:02:00.1")
    assert look(nic.host.sysfs, "0000:02:00.1") == Function("0000:02:00.1", "igb", iommu_group="4")
