from __future__ import annotations

import pytest
from gaudi_driver.products import MODELS, PRODUCTS, UNKNOWN, product

# As the driver had them that existing manifests were written against.
OLD = {
    "Gaudi": ["0x1000", "0x1001", "0x1010", "0x1011"],
    "Gaudi2": ["0x1020"],
    "Gaudi3": ["0x1030", "0x1060", "0x1061", "0x1062", "0x1063"],
}


@pytest.mark.parametrize(("model", "ids"), OLD.items())
def test_ids_have_the_models_that_manifests_ask_for(model: str, ids: list[str]) -> None:
    assert {product(device_id).model for device_id in ids} == {model}


def test_what_is_in_no_table_is_unknown_and_nothing_is_said_of_it() -> None:
    assert product("0x2000").model == UNKNOWN
    assert product("0x2000").memory_mib is None
    assert {each.model for each in PRODUCTS.values()} | {UNKNOWN} == MODELS
