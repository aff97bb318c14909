from __future__ import annotations

from dataclasses import replace

import pytest
from gaudi_driver.device import Gaudi
from gaudi_driver.products import product
from gaudi_driver.topology import with_groups


def module(place: int | None, device: str = "0x1020") -> Gaudi:
    number = 0x40 + (place or 0)
    return Gaudi(
        f"0000:{number:x}:00.0",
        device,
        product(device),
        driver="habanalabs",
        index=place,
        compute=f"accel/accel{place}",
        uverbs=f"infiniband/uverbs{place}",
        module_id=place,
    )


def groups(*gaudis: Gaudi) -> list[str]:
    return [each.group for each in with_groups(gaudis)]


def test_modules_of_a_board_are_connected() -> None:
    assert groups(*map(module, range(8))) == ["gaudi2-0"] * 8
    assert groups(module(0, "0x1060"), module(5, "0x1060")) == ["gaudi3-0"] * 2


def test_one_without_network_or_without_nodes_is_not() -> None:
    deaf, gone = replace(module(1), uverbs=""), replace(module(2), compute="")
    assert groups(module(0), deaf, gone, module(3)) == ["gaudi2-0", "", "", "gaudi2-0"]


@pytest.mark.parametrize("device", ["0x1021", "0x1063", "0x2000"])
def test_cards_and_unknown_products_are_not(device: str) -> None:
    assert groups(module(0, device), module(1, device)) == ["", ""]


@pytest.mark.parametrize("place", [None, 8, 200])
def test_one_whose_place_is_not_known_is_not(place: int | None) -> None:
    assert groups(module(place), module(1)) == ["", "gaudi2-0"]


def test_two_in_one_place_are_on_two_boards_of_which_nothing_is_known() -> None:
    twin = replace(module(1), bdf="0000:b3:00.0")
    assert groups(module(0), module(1), twin, module(0, "0x1000")) == ["", "", "", "gaudi-0"]
