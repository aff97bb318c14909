from __future__ import annotations

import re

import pytest
from gpu_driver import products
from gpu_driver.products import FAMILIES, PRODUCTS, UNKNOWN_PRODUCT, product

# The contract with manifests that exist: id, model, family, kernel driver. Never change a line of this.
CONTRACT = """
0x0b69 | Max 1550 | Data Center Max | i915
0x0bd0 | Max 1550 | Data Center Max | i915
0x0bd5 | Max 1550 | Data Center Max | i915
0x0bd6 | Max 1450 | Data Center Max | i915
0x0bd9 | Max 1100 | Data Center Max | i915
0x0bda | Max 1100 | Data Center Max | i915
0x0bdb | Max 1100 | Data Center Max | i915
0x4626 | Alder Lake-P | Iris Xe | i915
0x56a0 | A770 | Arc A-Series | i915
0x56a1 | A750 | Arc A-Series | i915
0x56a2 | A580 | Arc A-Series | i915
0x56a5 | A380 | Arc A-Series | i915
0x56a6 | A310 | Arc A-Series | i915
0x56b0 | A30M | Arc Pro A-Series | i915
0x56b1 | A40/A50 | Arc Pro A-Series | i915
0x56b2 | A60M | Arc Pro A-Series | i915
0x56b3 | A60 | Arc Pro A-Series | i915
0x56c0 | Flex 170 | Data Center Flex | i915
0x56c1 | Flex 140 | Data Center Flex | i915
0x7d67 | Arrow Lake-S | Intel Graphics | i915
0xa7a0 | Raptor Lake-P | Iris Xe | i915
0xb080 | B390 | Arc B-Series | xe
0xb081 | B370 | Arc B-Series | xe
0xb082 | B390 | Arc B-Series | xe
0xb083 | B370 | Arc B-Series | xe
0xb084 | B390 | Arc B-Series | xe
0xb085 | B370 | Arc B-Series | xe
0xb086 | B390 | Arc B-Series | xe
0xb087 | B370 | Arc B-Series | xe
0xe20b | B580 | Arc B-Series | xe
0xe20c | B570 | Arc B-Series | xe
0xe211 | B60 | Arc Pro B-Series | xe
0xe212 | B50 | Arc Pro B-Series | xe
0xe222 | B65 | Arc Pro B-Series | xe
0xe223 | B70 | Arc Pro B-Series | xe
"""
ROWS = [tuple(cell.strip() for cell in line.split("|")) for line in CONTRACT.strip().splitlines()]


def test_contract_has_35_ids() -> None:
    assert len({row[0] for row in ROWS}) == 35


@pytest.mark.parametrize(("device_id", "model", "family", "driver"), ROWS, ids=[row[0] for row in ROWS])
def test_contract(device_id: str, model: str, family: str, driver: str) -> None:
    found = product(device_id)
    assert (found.model, found.family, found.native_driver) == (model, family, driver)


def test_ids_are_written_as_sysfs_writes_them() -> None:
    assert [key for key in PRODUCTS if not re.fullmatch(r"0x[0-9a-f]{4}", key)] == []


def test_families_and_drivers_come_from_the_vocabulary() -> None:
    assert {item.family for item in PRODUCTS.values()} <= FAMILIES
    assert {item.native_driver for item in PRODUCTS.values()} == {"i915", "xe"}
    assert {item.integrated for item in PRODUCTS.values()} == {True, False}


def test_model_names_fit_an_attribute() -> None:
    # resource.k8s.io/v1: a string attribute has at most 64 bytes.
    assert max(len(item.model.encode()) for item in PRODUCTS.values()) <= 64
    assert all(item.model and item.model != products.UNKNOWN for item in PRODUCTS.values())


@pytest.mark.parametrize(
    ("device_id", "model", "driver", "integrated"),
    [
        ("0x4680", "Alder Lake-S", "i915", True),
        ("0xa780", "Raptor Lake-S", "i915", True),
        ("0x46d1", "Alder Lake-N", "i915", True),
        ("0x7d55", "Meteor Lake", "i915", True),
        ("0x64a0", "Lunar Lake", "xe", True),
        ("0xb080", "B390", "xe", True),
        ("0x3e9b", "Coffee Lake", "i915", True),
        ("0x5690", "A770M", "i915", False),
        ("0x56c2", "Flex 170V", "i915", False),
        ("0x674c", "Crescent Island", "xe", False),
    ],
)
def test_more_of_what_the_kernel_drivers_know(
    device_id: str, model: str, driver: str, *, integrated: bool
) -> None:
    found = product(device_id)
    assert (found.model, found.native_driver, found.integrated) == (model, driver, integrated)


def test_the_table_covers_both_drivers_widely() -> None:
    # Losing a line of the table would show here; whoever adds one counts again.
    assert len(PRODUCTS) == 429
    assert sum(item.native_driver == "xe" for item in PRODUCTS.values()) == 37


@pytest.mark.parametrize("device_id", ["0xffff", "0x0000", "56c0", "0x56C0", "", "garbage"])
def test_an_unknown_id_has_a_product_that_claims_nothing(device_id: str) -> None:
    assert product(device_id) is UNKNOWN_PRODUCT
    assert (UNKNOWN_PRODUCT.model, UNKNOWN_PRODUCT.family) == ("Unknown", "Unknown")
    assert UNKNOWN_PRODUCT.native_driver == ""
    assert UNKNOWN_PRODUCT.integrated is None


def test_an_id_in_two_lines_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_DISCRETE", (*products._DISCRETE, ("Copy", products.FLEX, "i915", "56c0")))
    with pytest.raises(AssertionError, match="56c0 is listed twice"):
        products._table()
