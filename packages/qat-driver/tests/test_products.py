from __future__ import annotations

import pytest
from qat_driver.products import PFS, PRODUCTS, VFS

# PF, VF, folder in bus/pci/drivers, VFs of a PF: as drivers of the kernel and of Intel have them.
TABLE = [
    ("0x0435", "0x0443", "dh895xcc", 32),
    ("0x37c8", "0x37c9", "c6xx", 16),
    ("0x19e2", "0x19e3", "c3xxx", 16),
    ("0x6f54", "0x6f55", "d15xx", 16),
    ("0x18ee", "0x18ef", "200xx", 16),
    ("0x18a0", "0x18a1", "c4xxx", 128),
    ("0x4940", "0x4941", "4xxx", 16),
    ("0x4942", "0x4943", "4xxx", 16),
    ("0x4944", "0x4945", "4xxx", 16),
    ("0x4946", "0x4947", "420xx", 16),
    ("0x4948", "0x4949", "6xxx", 16),
]
VF_DRIVERS = {
    *("dh895xccvf", "c4xxxvf", "c3xxxvf", "c6xxvf", "d15xxvf", "4xxxvf", "420xxvf", "6xxxvf", "200xxvf"),
}


@pytest.mark.parametrize(("pf", "vf", "driver", "vfs"), TABLE)
def test_a_pf_and_its_vfs_are_one_product(pf: str, vf: str, driver: str, vfs: int) -> None:
    assert PFS[pf] is VFS[vf]
    assert (PFS[pf].pf_driver, PFS[pf].vfs) == (driver, vfs)


def test_every_id_means_one_thing() -> None:
    assert set(PFS) == {pf for pf, *_ in TABLE}
    assert set(VFS) == {vf for _, vf, *_ in TABLE} | {"0x0442"}
    assert not set(PFS) & set(VFS)
    families = [product.family for product in PRODUCTS]
    assert len(families) == len(set(families))


def test_the_names_of_vf_drivers_that_the_device_plugin_knows() -> None:
    assert {product.vf_driver for product in PRODUCTS} == VF_DRIVERS


@pytest.mark.parametrize(
    ("device", "most", "decomp"),
    [
        ("0x37c8", 0, False),
        ("0x18a0", 0, False),
        ("0x4944", 2, False),
        ("0x4946", 2, False),
        ("0x4948", 3, True),
    ],
)
def test_how_much_can_be_chosen(device: str, most: int, decomp: bool) -> None:  # noqa: FBT001
    product = PFS[device]
    assert (product.most_services, product.decompression, product.configurable) == (most, decomp, most > 0)
    assert (product.services_since is not None) == product.configurable


def test_generations_are_in_order() -> None:
    generations = [product.generation for product in PRODUCTS]
    assert generations == sorted(generations)
    assert {each.generation for each in PRODUCTS if each.configurable} == {4, 6}
