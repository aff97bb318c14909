"""What the CDI ids of Intel's Go driver stand for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dra_common.model import ContainerEdits, PreparedDevice
from gaudi_driver.adopted import edits
from gaudi_driver.device import Gaudi
from gaudi_driver.driver import GaudiDriver
from gaudi_driver.policy import GaudiPolicy
from gaudi_trees import BOARD

A, B, *_ = BOARD
WHOLE = "intel.com/gaudi=5f1d2c0a-8b7e-4c55-9d21-3f0a4b5c6d7e"


def answer(*gaudis: Gaudi) -> tuple[PreparedDevice, ...]:
    ids: list[tuple[str, ...]] = [(f"intel.com/gaudi={gaudi.name}",) for gaudi in gaudis]
    ids[0] += (WHOLE,)
    return tuple(
        PreparedDevice(("r",), "node-1", gaudi.name, mine) for gaudi, mine in zip(gaudis, ids, strict=True)
    )


def made(*there: Gaudi) -> dict[str, ContainerEdits]:
    hardware = {gaudi.name: gaudi for gaudi in there}
    return dict(edits(answer(B, A), hardware, "/host/dev", GaudiPolicy()))


def test_a_device_is_its_nodes_and_the_claim_its_variables_and_hook() -> None:
    found = made(A, B)
    assert found.keys() == {f"intel.com/gaudi={A.name}", f"intel.com/gaudi={B.name}", WHOLE}
    assert [node.host_path for node in found[f"intel.com/gaudi={A.name}"].device_nodes] == [
        "/host/dev/accel/accel3",
        "/host/dev/accel/accel_controlD3",
        "/host/dev/infiniband/uverbs3",
    ]
    assert found[WHOLE].env == (
        "HABANA_VISIBLE_DEVICES=1,3",
        "HL_VISIBLE_DEVICES=/dev/accel/accel1,/dev/accel/accel3",
        "HABANA_VISIBLE_MODULES=5,0",
    )
    assert len(found[WHOLE].hooks) == 1


def test_what_is_gone_is_left_out() -> None:
    assert made(A).keys() == {f"intel.com/gaudi={A.name}", WHOLE}
    assert made(A)[WHOLE].env[0] == "HABANA_VISIBLE_DEVICES=3"
    assert made(replace(A, compute=""), replace(B, driver="", compute="")) == {}


def test_ids_of_others_are_not_ours_to_define() -> None:
    foreign = PreparedDevice(("r",), "node-1", A.name, ("intel.com/gpu=x", f"intel.com/gaudi={A.name}"))
    found = edits((foreign,), {A.name: A}, "/dev", GaudiPolicy())
    assert found.keys() == {f"intel.com/gaudi={A.name}"}


@pytest.mark.parametrize("ids", [(), (WHOLE,)])
def test_nothing_shows_that_it_was_for_an_administrator(ids: tuple[str, ...]) -> None:
    assert not GaudiDriver().is_adopted_admin(PreparedDevice(("r",), "n", A.name, ids))
