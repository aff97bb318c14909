"""Attributes that Kubernetes defines, from a sysfs to the server that stores them (scenario 80)."""

from __future__ import annotations

import pytest
from dra_common.errors import SliceError
from dra_common.model import Attribute, Device, Snapshot
from dra_common.slices import ServerFeatures, to_slices
from gpu_driver.device import Gpu, to_device
from gpu_driver.driver import GpuDriver
from gpu_trees import SysTree

STANDARD = "resource.kubernetes.io"
BDF = "0000:03:00.0"


def published(tree: SysTree, bdf: str = BDF) -> dict[str, Attribute]:
    """The standard attributes of one GPU."""
    driver = GpuDriver()
    found = driver.publish(driver.discover(tree.host).hardware).devices
    (device,) = (each for each in found if each.attributes["pciAddress"] == bdf)
    return {
        name.partition("/")[2]: value
        for name, value in device.attributes.items()
        if name.startswith(STANDARD)
    }


@pytest.mark.scenario(80)
def test_80_the_pcie_root_is_the_first_element_below_devices_however_deep_the_device_is(
    tree: SysTree,
) -> None:
    """Through the chain of links that a switch below a root port makes."""
    tree.gpu(BDF, "0xe212", below="pci0000:15/0000:15:01.0/0000:16:00.0/0000:17:01.0", numa_node="1")
    tree.to("sys/bridge", "sys/devices/pci0000:15/0000:15:01.0")
    tree.link(f"sys/bus/pci/devices/{BDF}", f"../../../bridge/0000:16:00.0/0000:17:01.0/{BDF}")
    assert published(tree) == {"pcieRoot": "pci0000:15", "pciBusID": BDF, "numaNode": 1}


@pytest.mark.scenario(80)
@pytest.mark.parametrize("below", ["platform/soc", "virtual", "pcix/0000:00:01.0", "pci0000/0000:00:01.0"])
def test_80_a_device_that_is_not_below_a_pci_root_has_no_pcie_root(tree: SysTree, below: str) -> None:
    tree.gpu(BDF, "0xe212", below=below)
    assert "pcieRoot" not in published(tree)


@pytest.mark.scenario(80)
def test_80_a_link_to_another_device_is_no_device(tree: SysTree) -> None:
    tree.gpu(BDF, "0xe212")
    tree.to("sys/bus/pci/devices/0000:04:00.0", tree.folders[BDF])
    found = GpuDriver().discover(tree.host)
    assert [gpu.bdf for gpu in found.hardware.values()] == [BDF]
    assert "leads to another device" in found.problems[0]


@pytest.mark.scenario(80)
@pytest.mark.parametrize(
    "name", ["0000:0A:00.0", "0000:03:00", "03:00.0", "0000:03:20.0", "0000:03:00.8", "device"]
)
def test_80_what_is_not_an_address_is_no_device(tree: SysTree, name: str) -> None:
    tree.gpu(name, "0xe212")
    assert GpuDriver().discover(tree.host).hardware == {}


@pytest.mark.scenario(80)
def test_80_an_address_with_a_longer_domain_is_published_without_the_standard_name(tree: SysTree) -> None:
    """Below a VMD domains begin at 0x10000; the standard attribute has four digits."""
    tree.gpu("10000:01:00.0", "0xe212", below="pci10000:00/10000:00:02.0")
    assert published(tree, "10000:01:00.0") == {"pcieRoot": "pci10000:00", "numaNode": 0}


@pytest.mark.scenario(80)
@pytest.mark.parametrize(
    ("text", "node"), [("-1", None), ("0", 0), ("1023", 1023), ("1024", None), ("x", None)]
)
def test_80_numa_nodes(tree: SysTree, text: str, node: int | None) -> None:
    tree.gpu(BDF, "0xe212", numa_node=text)
    assert published(tree).get("numaNode") == node


@pytest.mark.scenario(80)
@pytest.mark.parametrize(
    ("attributes", "rule"),
    [
        ({f"a{index}": True for index in range(33)}, "33 attributes and capacities, 32 are allowed"),
        ({"x": "y" * 65}, "65 bytes, 64 are allowed"),
        ({"x": "\u00e9" * 33}, "66 bytes, 64 are allowed"),
        ({"no-identifier": True}, "no-identifier"),
        ({"n" * 33: True}, "32"),
        ({f"{'d' * 64}/x": True}, "63"),
    ],
)
def test_80_the_limits_are_kept_before_the_server_is_asked(
    attributes: dict[str, Attribute], rule: str
) -> None:
    device = Device("a", attributes)
    with pytest.raises(SliceError, match=rule) as caught:
        to_slices(Snapshot(1, (device,)), driver=GpuDriver.name, features=ServerFeatures.of((1, 37)))
    assert "device a" in str(caught.value)


@pytest.mark.scenario(80)
def test_80_a_gpu_about_which_everything_is_known_is_within_the_limits() -> None:
    gpu = Gpu("0000:4d:00.0", "0x56c0", pcie_root="pci0000:4a", numa_node=1023, memory_mib=2**40)
    made = to_slices(
        Snapshot(1, (to_device(gpu),)), driver=GpuDriver.name, features=ServerFeatures.of((1, 37))
    )
    assert [len(part.devices) for part in made.contents] == [1]
