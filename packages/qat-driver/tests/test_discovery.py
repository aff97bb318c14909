from __future__ import annotations

import pytest
from dra_common.errors import HostError
from machines import Boot
from qat_driver.device import Pf, Vf, describe, to_device
from qat_driver.discovery import discover
from qat_driver.names import address_of, pf_name, vf_name
from qat_driver.products import PFS, PRODUCTS, VFS, Product
from qat_driver.services import parse
from qat_machines import to_vfio, vfs, write
from qat_trees import PF, VF, QatTree

SERVICES = "qat.intel.com/services"
STATE = "qat.intel.com/state"


def pf_of(tree: QatTree) -> Pf:
    found = discover(tree.host).hardware[pf_name(PF)]
    assert isinstance(found, Pf)
    return found


def vf_of(tree: QatTree) -> Vf:
    found = discover(tree.host).hardware[vf_name(VF)]
    assert isinstance(found, Vf)
    return found


def problems(tree: QatTree) -> tuple[str, ...]:
    return discover(tree.host).problems


def taints(vf: Vf) -> list[tuple[str, str]]:
    return [(taint.key, taint.value) for taint in to_device(vf).taints]


def test_everything_that_the_kernel_tells(tree: QatTree) -> None:
    tree.up()
    tree.vf(pf=PF)
    pf = Pf(
        PF,
        "0x4940",
        PFS["0x4940"],
        driver="4xxx",
        state="up",
        services=parse("sym;asym"),
        auto_reset=False,
        total_vfs=16,
        vfs=(VF,),
        numa_node=0,
        pcie_root="pci0000:6b",
    )
    assert pf_of(tree) == pf
    assert vf_of(tree) == Vf(
        VF,
        "0x4941",
        VFS["0x4941"],
        driver="vfio-pci",
        pf_bdf=PF,
        pf=pf,
        iommu_group="7",
        node="vfio/7",
        numa_node=0,
        pcie_root="pci0000:6b",
    )
    assert (vf_of(tree).usable, problems(tree)) == (True, ())


def test_what_the_scheduler_sees(tree: QatTree) -> None:
    tree.up(services="dc;asym")
    tree.vf(pf=PF)
    device = to_device(vf_of(tree))
    assert device.name == "qatvf-0000-6b-00-1"
    assert device.attributes == {
        "family": "4xxx",
        "generation": 4,
        "type": "vf",
        "services": "asym;dc",
        "sym": False,
        "asym": True,
        "dc": True,
        "decomp": False,
        "dcc": False,
        "pf": PF,
        "state": "up",
        "driver": "vfio-pci",
        "pciId": "0x4941",
        "health": "Unknown",
        "pciRoot": "6b",
        "resource.kubernetes.io/pcieRoot": "pci0000:6b",
        "resource.kubernetes.io/pciBusID": VF,
        "resource.kubernetes.io/numaNode": 0,
    }
    assert device.taints == ()


@pytest.mark.parametrize("product", [each for each in PRODUCTS if each.pf_id], ids=lambda each: each.family)
def test_every_product_is_found_as_pf_and_as_vf(tree: QatTree, product: Product) -> None:
    tree.pf(device=product.pf_id, driver=product.pf_driver, state="up", cfg_services="dc")
    tree.vf(device=product.vf_id, pf=PF)
    assert (pf_of(tree).product, vf_of(tree).product, vf_of(tree).usable) == (product, product, True)


def test_a_virtual_machine_has_vfs_alone(tree: QatTree) -> None:
    for number, product in enumerate(PRODUCTS):
        tree.vf(f"0000:0{number:x}:00.0", product.vf_id, group=str(number))
    found = discover(tree.host).hardware
    assert len(found) == len(PRODUCTS)
    for vf in found.values():
        assert isinstance(vf, Vf)
        assert (vf.usable, vf.pf, vf.services.text) == (True, None, "")
        assert not {"pf", "state"} & set(to_device(vf).attributes)


def test_other_coprocessors_are_no_qats(tree: QatTree) -> None:
    tree.pf(device="0x2710")
    tree.function("0000:70:00.0", vendor="0x8086", class_="0x088000", device="0x4940")
    tree.function("0000:75:00.0", vendor="0x1da3", class_="0x0b4000", device="0x4940")
    assert (discover(tree.host).hardware, problems(tree)) == ({}, ())


# --------------------------------------------------------------------------- what is odd


@pytest.mark.parametrize(
    ("qat", "taint", "value", "why"),
    [
        (
            {"state": "up", "cfg_services": "sym;chacha"},
            SERVICES,
            "unknown",
            "services that are not known: chacha",
        ),
        ({"state": "up"}, SERVICES, "none", "does not say what it offers"),
        ({"state": "up", "cfg_services": ""}, SERVICES, "none", "does not say what it offers"),
        (
            {"state": "restarting", "cfg_services": "dc"},
            STATE,
            "unknown",
            "'restarting', neither up nor down",
        ),
        ({"cfg_services": "dc"}, STATE, "unknown", "does not say its state"),
        ({"state": "down", "cfg_services": "dc"}, STATE, "down", "is down"),
    ],
)
def test_a_pf_with_something_odd_is_kept_and_its_vfs_are_tainted(
    tree: QatTree, qat: dict[str, str], taint: str, value: str, why: str
) -> None:
    tree.pf(**qat)
    tree.vf(pf=PF)
    (fault,) = pf_of(tree).faults
    assert (fault.taint, fault.value) == (taint, value)
    assert why in fault.why
    assert (vf_of(tree).usable, taints(vf_of(tree))) == (False, [(taint, value)])


def test_what_is_known_is_published_beside_what_is_not(tree: QatTree) -> None:
    tree.up(services="sym;chacha;md5")
    tree.vf(pf=PF)
    assert to_device(vf_of(tree)).attributes["services"] == "sym"
    assert [line.rpartition(" ")[2] for line in problems(tree)] == ["'chacha'", "'md5'"]
    assert describe(pf_of(tree))["services"] == "sym;chacha;md5"


def test_several_reasons_are_told_and_one_taint_has_one_value(tree: QatTree) -> None:
    tree.pf(driver="vfio-pci")
    tree.vf(pf=PF, driver="igb_uio", group="")
    vf = vf_of(tree)
    assert taints(vf) == [
        ("qat.intel.com/unexpected-driver", "vfio-pci"),
        ("qat.intel.com/no-iommu-group", ""),
    ]
    assert [fault.value for fault in vf.faults] == ["vfio-pci", "", "igb_uio"]
    assert describe(vf)["faults"][2] == "it is not bound to vfio-pci, but igb_uio"


@pytest.mark.parametrize(("pf", "vf", "value"), [("", "vfio-pci", "PF"), ("4xxx", "", "VF")])
def test_what_is_bound_to_nothing_is_tainted(tree: QatTree, pf: str, vf: str, value: str) -> None:
    tree.up(driver=pf)
    tree.vf(pf=PF, driver=vf)
    assert taints(vf_of(tree)) == [("qat.intel.com/unbound", value)]


def test_the_variant_of_vfio_is_as_good(tree: QatTree) -> None:
    tree.up()
    tree.vf(pf=PF, driver="qat_vfio_pci")
    assert vf_of(tree).usable


def test_a_number_of_vfs_that_makes_no_sense_costs_no_device(tree: QatTree) -> None:
    folder = tree.up()
    tree.file(f"{folder}/sriov_totalvfs", "many\n")
    assert (pf_of(tree).driver, pf_of(tree).state, pf_of(tree).total_vfs) == ("4xxx", "up", None)
    (line,) = problems(tree)
    assert "not a number" in line


def test_an_attribute_that_cannot_be_read_costs_no_device(tree: QatTree) -> None:
    folder = tree.pf(cfg_services="dc")
    (tree.root / folder / "qat/state").mkdir()
    assert [fault.taint for fault in pf_of(tree).faults] == [STATE]
    (line,) = problems(tree)
    assert "qat/state" in line


def test_a_node_of_vfio_without_an_iommu(tree: QatTree) -> None:
    tree.up()
    tree.vf(pf=PF, group="0")
    (tree.root / "dev/vfio/0").rename(tree.root / "dev/vfio/noiommu-0")
    assert (vf_of(tree).node, vf_of(tree).usable) == ("vfio/noiommu-0", True)


# --------------------------------------------------------------------------- products without a choice


def test_old_products_need_neither_state_nor_services(tree: QatTree) -> None:
    tree.pf(device="0x37c8", driver="c6xx")
    tree.vf(device="0x37c9", pf=PF)
    vf = vf_of(tree)
    assert (vf.usable, vf.services.text, to_device(vf).attributes["generation"]) == (True, "", 2)


@pytest.mark.parametrize(
    ("configuration", "services"),
    [
        ("[GENERAL]\nServicesEnabled = cy;dc\nConfig_version = 2\n[KERNEL]\n", "sym;asym;dc"),
        ("[KERNEL]\nNumberCyInstances = 1\n[GENERAL]\nServicesEnabled = asym\n", "asym"),
        ("[GENERAL]\n[KERNEL]\nServicesEnabled = dc\n", ""),
        ("", ""),
    ],
)
def test_their_configuration_tells_services(tree: QatTree, configuration: str, services: str) -> None:
    tree.pf(device="0x37c8", driver="c6xx")
    tree.file(f"debug/qat_c6xx_{PF}/dev_cfg", configuration)
    assert pf_of(tree).services.text == services


def test_what_sysfs_says_counts_more(tree: QatTree) -> None:
    tree.up(services="dc")
    tree.file(f"debug/qat_4xxx_{PF}/dev_cfg", "[GENERAL]\nServicesEnabled = sym\n")
    assert pf_of(tree).services.text == "dc"


# --------------------------------------------------------------------------- some of them


def test_only_what_a_claim_names_is_read_with_its_pf(tree: QatTree) -> None:
    tree.up()
    tree.vf(pf=PF)
    tree.vf("0000:6b:00.2", device="rubbish", pf=PF)
    looked = discover(tree.host, only={vf_name(VF), "qatvf-0000-77-00-0", "x", pf_name(VF)})
    assert (list(looked.hardware), looked.problems) == ([vf_name(VF)], ())
    vf = looked.hardware[vf_name(VF)]
    assert isinstance(vf, Vf)
    assert vf.services.text == "sym;asym"
    assert list(discover(tree.host, only={pf_name(PF)}).hardware) == [pf_name(PF)]


def test_a_bus_that_cannot_be_listed_is_an_error(tree: QatTree) -> None:
    (tree.root / "sys/bus/pci/devices").rmdir()
    with pytest.raises(HostError):
        discover(tree.host)


def test_one_bad_device_costs_a_line_and_no_other(tree: QatTree) -> None:
    tree.up()
    tree.vf(device="rubbish")
    assert list(discover(tree.host).hardware) == [pf_name(PF)]
    assert len(problems(tree)) == 1


@pytest.mark.parametrize(
    ("name", "bdf"),
    [
        ("qatvf-0000-6b-00-1", "0000:6b:00.1"),
        ("qat-10000-6b-1f-7", "10000:6b:1f.7"),
        ("qatvf-0000-6b-20-1", ""),
        ("qatvf-0000-6b-00-1-0x4941", ""),
        ("qatvf-vfio", ""),
        ("", ""),
    ],
)
def test_names_and_addresses(name: str, bdf: str) -> None:
    assert address_of(name) == bdf


# --------------------------------------------------------------------------- on a simulated machine


def test_a_server_is_found_as_it_changes(boot: Boot) -> None:
    host = boot("xeon-fresh")
    found = discover(host)
    assert (len(found.hardware), found.problems) == (8, ())
    write(host, "sriov_numvfs", "16")
    unbound = [vf for vf in discover(host).hardware.values() if isinstance(vf, Vf)]
    assert ({vf.usable for vf in unbound}, len(unbound)) == ({False}, 16)
    to_vfio(host, vfs(host)[0])
    vf = discover(host, only={vf_name(VF)}).hardware[vf_name(VF)]
    assert isinstance(vf, Vf)
    assert (vf.usable, vf.services.text, host.devfs.exists(vf.node)) == (True, "sym;asym", True)
    write(host, "qat/state", "down")
    assert len(discover(host).hardware) == 8
    (fault,) = discover(host).hardware[pf_name(PF)].faults
    assert (fault.taint, fault.value) == (STATE, "down")
