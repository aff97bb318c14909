from __future__ import annotations

import errno
import stat
from collections.abc import Callable

from dra_common.ports import Uevent
from dra_common.simulate.kernel import Kernel

PCI = "bus/pci/devices"
PF = "0000:01:00.0"
VF0 = "0000:01:10.0"
VF1 = "0000:01:10.2"
TOY = "0000:07:00.0"

Boot = Callable[..., Kernel]
Refusal = Callable[[Callable[[], object]], int]


def to_vfio(kernel: Kernel, *bdfs: str) -> None:
    for bdf in bdfs:
        kernel.write(f"{PCI}/{bdf}/driver_override", "vfio-pci")
        kernel.write("bus/pci/drivers_probe", bdf)


def make_vfs(kernel: Kernel, count: int) -> None:
    kernel.write(f"{PCI}/{PF}/sriov_drivers_autoprobe", "0")
    kernel.write(f"{PCI}/{PF}/sriov_numvfs", str(count))


def vfio_nodes(kernel: Kernel) -> list[str]:
    top = kernel.machine.dev.root / "vfio"
    return sorted(path.relative_to(top).as_posix() for path in top.rglob("*") if not path.is_dir())


def test_nodes_of_the_family_exist_from_the_start(kernel: Kernel) -> None:
    assert vfio_nodes(kernel) == ["vfio"]
    assert stat.S_IMODE((kernel.machine.dev.root / "vfio/vfio").stat().st_mode) == 0o666
    assert kernel.machine.sys.read("devices/virtual/misc/vfio/dev") == "10:196"
    assert (kernel.machine.dev.root / "iommu").exists()


def test_group_and_device_nodes(kernel: Kernel) -> None:
    make_vfs(kernel, 2)
    to_vfio(kernel, VF0, VF1)
    groups = [kernel.machine.functions[bdf].spec.iommu_group for bdf in (VF0, VF1)]
    assert vfio_nodes(kernel) == sorted(["vfio", "devices/vfio0", "devices/vfio1", *map(str, groups)])
    assert stat.S_IMODE((kernel.machine.dev.root / f"vfio/{groups[0]}").stat().st_mode) == 0o600
    kernel.write(f"{PCI}/{PF}/sriov_numvfs", "0")
    assert vfio_nodes(kernel) == ["vfio"]


def test_events_in_the_vfio_subsystems(kernel: Kernel) -> None:
    make_vfs(kernel, 1)
    heard: list[Uevent] = []
    kernel.hub.listen(heard.append)
    to_vfio(kernel, VF0)
    kernel.write("bus/pci/drivers/vfio-pci/unbind", VF0)
    assert [(event.action, event.subsystem) for event in heard] == [
        ("add", "vfio"),
        ("add", "vfio-dev"),
        ("bind", "pci"),
        ("remove", "vfio-dev"),
        ("remove", "vfio"),
        ("unbind", "pci"),
    ]


def test_a_shared_group_has_one_node_until_its_last_member_leaves(boot: Boot, profile_text: str) -> None:
    vfs = "num: 2, autoprobe: false, vfs: {0: {iommu_group: 30}, 1: {iommu_group: 30}}"
    kernel = boot(profile_text.replace("sriov: {", f"sriov: {{{vfs}, "))
    to_vfio(kernel, VF0, VF1)
    assert vfio_nodes(kernel) == ["30", "devices/vfio0", "devices/vfio1", "vfio"]
    kernel.write("bus/pci/drivers/vfio-pci/unbind", VF0)
    assert vfio_nodes(kernel) == ["30", "devices/vfio1", "vfio"]
    kernel.write("bus/pci/drivers/vfio-pci/unbind", VF1)
    assert vfio_nodes(kernel) == ["vfio"]
    assert sorted(kernel.machine.sys.names("kernel/iommu_groups/30/devices")) == [VF0, VF1]


def test_a_kernel_without_per_device_nodes(boot: Boot, profile_text: str) -> None:
    kernel = boot(profile_text + "vfio_cdev: false\n")
    make_vfs(kernel, 1)
    to_vfio(kernel, VF0)
    group = str(kernel.machine.functions[VF0].spec.iommu_group)
    assert vfio_nodes(kernel) == sorted(["vfio", group])
    folder = f"{kernel.machine.functions[VF0].folder}/vfio-dev/vfio0"
    assert kernel.machine.sys.names(folder) == ["device", "subsystem", "uevent"]
    assert not (kernel.machine.dev.root / "iommu").exists()


def test_without_an_iommu_the_probe_fails(boot: Boot, profile_text: str, refusal: Refusal) -> None:
    kernel = boot(profile_text.replace("    iommu_group: 9\n", ""))
    kernel.write(f"{PCI}/{TOY}/driver_override", "vfio-pci")
    kernel.write("bus/pci/drivers/toy/unbind", TOY)
    assert refusal(lambda: kernel.write("bus/pci/drivers/vfio-pci/bind", TOY)) == errno.EINVAL
    assert refusal(lambda: kernel.write("bus/pci/drivers_probe", TOY)) == 0
    assert kernel.machine.functions[TOY].driver is None


def test_where_vfio_does_not_mind_it_makes_a_group_while_it_is_bound(boot: Boot, profile_text: str) -> None:
    kernel = boot(profile_text.replace("    iommu_group: 9\n", "") + "vfio_noiommu: true\n")
    machine = kernel.machine
    kernel.write("bus/pci/drivers/toy/unbind", TOY)
    to_vfio(kernel, TOY)
    assert vfio_nodes(kernel) == ["devices/noiommu-vfio0", "noiommu-4", "vfio"]
    # The number is the first that no group of the IOMMU has.
    link = (machine.sys.root / machine.functions[TOY].folder / "iommu_group").readlink()
    assert link.as_posix().endswith("kernel/iommu_groups/4")
    assert machine.sys.read("kernel/iommu_groups/4/name") == "vfio-noiommu"
    close = kernel.open_node("vfio/noiommu-4", TOY)
    assert machine.in_use[TOY] == 1
    close()
    kernel.write("bus/pci/drivers/vfio-pci/unbind", TOY)
    assert vfio_nodes(kernel) == ["vfio"]
    assert not machine.sys.exists("kernel/iommu_groups/4")
    assert not machine.sys.exists(f"{machine.functions[TOY].folder}/iommu_group")


def test_vfio_as_driver_of_a_pf_makes_no_vfs(kernel: Kernel, refusal: Refusal) -> None:
    kernel.write(f"{PCI}/{PF}/driver_override", "vfio-pci")
    kernel.write("bus/pci/drivers/igb/unbind", PF)
    kernel.write("bus/pci/drivers_probe", PF)
    assert refusal(lambda: kernel.write(f"{PCI}/{PF}/sriov_numvfs", "1")) == errno.ENOENT
