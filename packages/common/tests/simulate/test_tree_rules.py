"""The rules every sysfs keeps, checked on the tree of a machine with VFs, a card and VFIO."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from dra_common.host import FileTree
from dra_common.simulate.kernel import Kernel

PF = "0000:01:00.0"
VF0 = "0000:01:10.0"
TOY = "0000:07:00.0"
PCI = "bus/pci/devices"


@pytest.fixture
def sysfs(kernel: Kernel) -> FileTree:
    kernel.write(f"{PCI}/{PF}/sriov_drivers_autoprobe", "0")
    kernel.write(f"{PCI}/{PF}/sriov_numvfs", "7")
    kernel.write(f"{PCI}/{VF0}/driver_override", "vfio-pci")
    kernel.write("bus/pci/drivers_probe", VF0)
    return FileTree(str(kernel.machine.sys.root))


def links(root: Path) -> list[Path]:
    return list(filter(Path.is_symlink, root.rglob("*")))


def test_every_link_resolves_inside(sysfs: FileTree) -> None:
    root = Path(sysfs.root)
    found = links(root)
    assert len(found) > 60
    for path in found:
        assert path.exists(), f"{path} -> {path.readlink()}"
        assert path.resolve().is_relative_to(root.resolve())


def test_no_link_is_absolute_or_climbs_above_sysfs(sysfs: FileTree) -> None:
    root = Path(sysfs.root)
    for path in links(root):
        target = path.readlink()
        assert not target.is_absolute()
        assert target.parts.count("..") <= len(path.relative_to(root).parts) - 1, f"{path} -> {target}"


def test_every_text_file_ends_with_one_newline(sysfs: FileTree) -> None:
    seen = 0
    for path in Path(sysfs.root).rglob("*"):
        if path.is_file() and not path.is_symlink() and not path.name.startswith(("resource", "rom")):
            data = path.read_bytes()
            assert data.endswith(b"\n"), path
            assert not data.endswith(b"\n\n"), path
            seen += 1
    assert seen > 200


def test_nothing_hidden_is_left(sysfs: FileTree) -> None:
    assert list(Path(sysfs.root).rglob(".*")) == []


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (f"{PCI}/{TOY}", f"../../../devices/pci0000:00/0000:00:07.0/0000:05:00.0/0000:06:01.0/{TOY}"),
        (f"{PCI}/{TOY}/driver", "../../../../../../bus/pci/drivers/toy"),
        (f"{PCI}/{TOY}/subsystem", "../../../../../../bus/pci"),
        (f"{PCI}/{TOY}/iommu_group", "../../../../../../kernel/iommu_groups/9"),
        (f"{PCI}/{PF}/driver", "../../../../bus/pci/drivers/igb"),
        (f"{PCI}/{PF}/virtfn0", f"../{VF0}"),
        (f"{PCI}/{VF0}/physfn", f"../{PF}"),
        (f"bus/pci/drivers/igb/{PF}", f"../../../../devices/pci0000:00/0000:00:01.0/{PF}"),
        ("bus/pci/drivers/vfio-pci/module", "../../../../module/vfio_pci"),
        (f"kernel/iommu_groups/3/devices/{PF}", f"../../../../devices/pci0000:00/0000:00:01.0/{PF}"),
        ("class/drm/card0", "../../devices/pci0000:00/0000:00:03.0/0000:03:00.0/drm/card0"),
        ("class/drm/card0/device", "../../../0000:03:00.0"),
        ("class/drm/card0/subsystem", "../../../../../../class/drm"),
        ("class/vfio/10", "../../devices/virtual/vfio/10"),
        (
            "dev/char/226:128",
            f"../../devices/pci0000:00/0000:00:07.0/0000:05:00.0/0000:06:01.0/{TOY}/drm/renderD128",
        ),
    ],
)
def test_link_texts(sysfs: FileTree, path: str, target: str) -> None:
    assert sysfs.readlink(path) == target


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (f"{PF}/vendor", "0x8086"),
        (f"{PF}/device", "0x10c9"),
        (f"{PF}/class", "0x020000"),
        (f"{PF}/revision", "0x01"),
        (f"{PF}/subsystem_device", "0xa03c"),
        (f"{PF}/modalias", "pci:v00008086d000010C9sv00008086sd0000A03Cbc02sc00i00"),
        (f"{PF}/driver_override", "(null)"),
        (f"{PF}/sriov_totalvfs", "7"),
        (f"{PF}/sriov_numvfs", "7"),
        (f"{PF}/sriov_offset", "128"),
        (f"{PF}/sriov_stride", "2"),
        (f"{PF}/sriov_vf_device", "10ca"),
        (f"{PF}/sriov_drivers_autoprobe", "0"),
        (f"{PF}/sriov_vf_total_msix", "0"),
        (f"{PF}/numa_node", "0"),
        (f"{PF}/local_cpulist", "0-3"),
        (f"{PF}/current_link_speed", "2.5 GT/s PCIe"),
        (f"{VF0}/device", "0x10ca"),
        (f"{VF0}/driver_override", "vfio-pci"),
        (f"{VF0}/vfio-dev/vfio0/dev", "511:0"),
        (f"{TOY}/local_cpulist", "4-7"),
        ("0000:03:00.0/numa_node", "-1"),
        ("0000:03:00.0/local_cpulist", "0-3,4-7"),
        (f"{TOY}/drm/card1/dev", "226:1"),
        (f"{TOY}/drm/card1/tune", "jig"),
        (f"{TOY}/drm/card1/uevent", "MAJOR=226\nMINOR=1\nDEVNAME=dri/card1\nDEVTYPE=drm_minor"),
        (
            f"{PF}/uevent",
            "\n".join(
                [
                    *("DRIVER=igb", "PCI_CLASS=20000", "PCI_ID=8086:10C9", "PCI_SUBSYS_ID=8086:A03C"),
                    f"PCI_SLOT_NAME={PF}",
                    "MODALIAS=pci:v00008086d000010C9sv00008086sd0000A03Cbc02sc00i00",
                ]
            ),
        ),
    ],
)
def test_contents(sysfs: FileTree, path: str, text: str) -> None:
    assert sysfs.read(f"{PCI}/{path}") == text


def test_an_unbound_function_names_no_driver(sysfs: FileTree) -> None:
    assert "DRIVER" not in sysfs.read(f"{PCI}/0000:01:10.2/uevent")
    assert not sysfs.exists(f"{PCI}/0000:01:10.2/driver")


def test_vfs_are_siblings_without_sriov_of_their_own(sysfs: FileTree) -> None:
    assert (
        sysfs.realpath(f"{PCI}/{VF0}").rpartition("/")[0] == sysfs.realpath(f"{PCI}/{PF}").rpartition("/")[0]
    )
    own = [name for name in sysfs.listdir(f"{PCI}/{VF0}") if name.startswith("sriov")]
    assert own == ["sriov_vf_msix_count"]


def test_functions_without_the_capability_have_no_sriov_files(sysfs: FileTree) -> None:
    assert not [name for name in sysfs.listdir(f"{PCI}/{TOY}") if name.startswith("sriov")]


def test_each_vf_has_a_group_of_its_own(sysfs: FileTree) -> None:
    groups = [sysfs.readlink(f"{PCI}/{PF}/virtfn{index}/iommu_group") for index in range(7)]
    assert len(set(groups)) == 7
    assert not {"3", "9"} & {group.rpartition("/")[2] for group in groups}


def test_resource_lines(sysfs: FileTree) -> None:
    lines = sysfs.read(f"{PCI}/{PF}/resource").splitlines()
    assert len(lines) == 13
    rows = [tuple(int(word, 16) for word in line.split()) for line in lines]
    sizes = [end - start + 1 if end else 0 for start, end, _ in rows]
    # The VF BAR line is as large as eight VFs' BARs: the hardware's number, not the driver's seven.
    assert sizes == [131072, 0, 17179869184, 0, 0, 0, 0, 8 * 16384, 0, 0, 0, 0, 0]
    assert [rows[0][2], rows[2][2]] == [0x140204, 0x14220C]
    assert all(start % size == 0 for (start, _, _), size in zip(rows, sizes, strict=True) if size)


def test_bridges_have_17_resource_lines(sysfs: FileTree) -> None:
    assert len(sysfs.read(f"{PCI}/0000:00:01.0/resource").splitlines()) == 17


def test_binary_files_have_the_size_but_take_no_space(sysfs: FileTree) -> None:
    folder = Path(sysfs.root) / PCI / PF
    sizes = {
        name: (folder / name).stat().st_size for name in ("resource0", "resource2", "resource2_wc", "rom")
    }
    assert sizes == {"resource0": 131072, "resource2": 17179869184, "resource2_wc": 17179869184, "rom": 65536}
    assert (folder / "resource2").stat().st_blocks == 0
    assert not (folder / "resource0_wc").exists()


def test_bridges_are_bound_to_pcieport(sysfs: FileTree) -> None:
    assert sysfs.readlink(f"{PCI}/0000:06:01.0/driver").endswith("/pcieport")


def test_dmem_capacity(sysfs: FileTree) -> None:
    assert sysfs.read("fs/cgroup/dmem.capacity") == f"drm/{TOY}/vram0 4096"
    assert "dmem" in sysfs.read("fs/cgroup/cgroup.controllers").split()


def test_dmem_capacity_follows_the_card(kernel: Kernel) -> None:
    kernel.write("bus/pci/drivers/toy/unbind", TOY)
    assert kernel.machine.sys.read("fs/cgroup/dmem.capacity") == ""
    kernel.write("bus/pci/drivers/toy/bind", TOY)
    assert kernel.machine.sys.read("fs/cgroup/dmem.capacity") == f"drm/{TOY}/vram0 4096"


def test_no_file_can_be_written_past_the_kernel(sysfs: FileTree) -> None:
    for path in Path(sysfs.root).rglob("*"):
        if path.is_file() and not path.is_symlink() and not path.name.startswith(("resource", "rom")):
            assert not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH), path


def test_system_folders(sysfs: FileTree) -> None:
    assert sysfs.read("devices/system/node/node1/cpulist") == "4-7"
    assert sysfs.read("devices/system/cpu/online") == "0-3,4-7"
