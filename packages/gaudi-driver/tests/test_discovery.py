from __future__ import annotations

from pathlib import Path

import pytest
from dra_common.errors import HostError
from gaudi_driver.device import Gaudi
from gaudi_driver.discovery import discover
from gaudi_driver.products import PRODUCTS, product
from gaudi_trees import GaudiTree

ONE = "0000:43:00.0"
NAME = "0000-43-00-0-0x1020"


def found(tree: GaudiTree, bdf: str = ONE) -> Gaudi:
    by_address = {gaudi.bdf: gaudi for gaudi in discover(tree.host).hardware.values()}
    return by_address[bdf]


def problems(tree: GaudiTree) -> tuple[str, ...]:
    return discover(tree.host).problems


def test_everything_that_the_kernel_tells(tree: GaudiTree) -> None:
    folder = tree.gaudi(ONE)
    tree.start(ONE, index=3, module=5)
    tree.file(f"{folder}/preboot_btl_ver", "Preboot version hl-gaudi2-1.12.1-fw-46.0.5-sec-6 (Jul 2024)\n")
    tree.file("sys/bus/pci/drivers/habanalabs/module/version", "1.21.0-ca59b5a\n")
    for port in range(3):
        tree.file(f"{folder}/net/ens8f{port}/operstate", "up\n")
    assert found(tree) == Gaudi(
        ONE,
        "0x1020",
        product("0x1020"),
        driver="habanalabs",
        index=3,
        compute="accel/accel3",
        control="accel/accel_controlD3",
        uverbs="infiniband/uverbs3",
        module_id=5,
        device_type="GAUDI2",
        status="Operational",
        driver_version="1.21.0",
        firmware_version="1.12.1",
        external_ports=3,
        numa_node=0,
        pcie_root="pci0000:42",
        group="gaudi2-0",
        attributes=f"bus/pci/devices/{ONE}",
    )
    assert problems(tree) == ()


@pytest.mark.parametrize(
    ("place", "nodes"),
    [
        ("accel/accel{}/device", ("accel/accel4", "accel/accel_controlD4")),
        ("habanalabs/hl{}", ("hl4", "hl_controlD4")),
    ],
)
def test_older_kernels_tell_of_it_by_virtual_devices(
    tree: GaudiTree, place: str, nodes: tuple[str, str]
) -> None:
    tree.gaudi(ONE)
    tree.bind(ONE, "habanalabs")
    for number, bdf in ((1, "0000:19:00.0"), (4, ONE)):
        folder = f"sys/devices/virtual/{place.format(number)}"
        texts = {"pci_addr": bdf, "module_id": f"{number}", "status": "Operational", "device_type": "GAUDI"}
        for name, text in texts.items():
            tree.file(f"{folder}/{name}", f"{text}\n")
    assert (found(tree).compute, found(tree).control) == (nodes[0], "")
    tree.file(f"dev/{nodes[1]}", "")
    gaudi = found(tree)
    assert (gaudi.index, gaudi.compute, gaudi.control) == (4, *nodes)
    assert (gaudi.module_id, gaudi.status, gaudi.device_type) == (4, "Operational", "GAUDI")
    assert gaudi.attributes == f"devices/virtual/{place.format(4)}"
    assert problems(tree) == ()


@pytest.mark.parametrize("device", [*PRODUCTS, "0x2000"])
def test_every_product_is_found_bound_or_not(tree: GaudiTree, device: str) -> None:
    tree.gaudi(ONE, device)
    tree.gaudi("0000:44:00.0", device)
    tree.start("0000:44:00.0", index=0, module=0)
    assert [gaudi.usable for gaudi in discover(tree.host).hardware.values()] == [True, False]
    assert found(tree).driver == ""


def test_other_functions_are_no_gaudis(tree: GaudiTree) -> None:
    tree.gaudi(ONE, class_="0x058000")
    tree.gaudi("0000:44:00.0", vendor="0x8086")
    assert discover(tree.host).hardware == {}


def test_a_device_that_starts_has_no_node_yet_which_is_no_problem(tree: GaudiTree) -> None:
    folder = tree.gaudi(ONE)
    tree.bind(ONE, "habanalabs")
    tree.file(f"{folder}/status", "In device creation\n")
    assert (found(tree).usable, problems(tree)) == (False, ())
    tree.file(f"{folder}/status", "Needs reset\n")
    (line,) = problems(tree)
    assert line.startswith(f"{ONE}: bound to habanalabs, but it has no device node")


@pytest.mark.parametrize("text", ["x", "4096"])
def test_a_place_that_makes_no_sense_is_unknown_and_told(tree: GaudiTree, text: str) -> None:
    folder = tree.gaudi(ONE)
    tree.start(ONE, index=0, module=0)
    tree.file(f"{folder}/module_id", f"{text}\n")
    gaudi = found(tree)
    assert (gaudi.module_id, gaudi.usable, gaudi.group) == (None, True, "")
    assert any("module_id" in line for line in problems(tree))


def test_without_the_network_driver_ports_are_unknown(tree: GaudiTree) -> None:
    folder = tree.gaudi(ONE)
    tree.start(ONE, index=0, module=0, network=False)
    assert (found(tree).external_ports, found(tree).uverbs) == (None, "")
    tree.file(f"{folder}/infiniband/hlib_0/node_guid", "\n")
    assert found(tree).external_ports == 0


def test_one_bad_device_costs_a_line_and_no_other(tree: GaudiTree) -> None:
    folder = tree.gaudi(ONE)
    (tree.root / folder / "device").unlink()
    tree.gaudi("0000:44:00.0")
    assert [gaudi.bdf for gaudi in discover(tree.host).hardware.values()] == ["0000:44:00.0"]
    assert len(problems(tree)) == 1


def test_only_what_a_claim_names_is_read(tree: GaudiTree) -> None:
    tree.gaudi(ONE)
    tree.start(ONE, index=0, module=0)
    tree.gaudi("0000:44:00.0", device="rubbish")
    looked = discover(tree.host, only={NAME, "0000-45-00-0-0x1020", "0000-43-00-0-0x1060", "x"})
    assert (list(looked.hardware), looked.problems) == ([NAME], ())
    gaudi = looked.hardware[NAME]
    assert (gaudi.usable, gaudi.uverbs, gaudi.module_id) == (True, "infiniband/uverbs0", 0)
    assert (gaudi.pcie_root, gaudi.group, gaudi.driver_version) == ("", "", "")


def test_a_bus_that_cannot_be_listed_is_an_error(tree: GaudiTree) -> None:
    (tree.root / "sys/bus/pci/devices").rmdir()
    with pytest.raises(HostError):
        discover(tree.host)


def test_the_network_file_is_noted(tree: GaudiTree, tmp_path: Path) -> None:
    tree.gaudi(ONE)
    assert not found(tree).network_file
    assert discover(tree.host, network_file=True).hardware[NAME].network_file
