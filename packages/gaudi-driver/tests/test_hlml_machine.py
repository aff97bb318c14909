from __future__ import annotations

import pytest
from gaudi_driver.hlml.machine import Machine
from gaudi_trees import GaudiTree

ONE, OTHER = "0000:43:00.0", "0000:44:00.0"


@pytest.mark.parametrize(
    "place",
    [
        f"sys/bus/pci/devices/{ONE}",
        "sys/devices/virtual/accel/accel3/device",
        "sys/devices/virtual/habanalabs/hl3",
    ],
)
def test_counters_are_read_where_the_kernel_has_them(tree: GaudiTree, place: str) -> None:
    for bdf in (ONE, OTHER):
        tree.gaudi(bdf)
        tree.bind(bdf, "habanalabs")
        tree.to(f"sys/bus/pci/drivers/habanalabs/{bdf}", tree.folders[bdf])
    texts = {"pci_addr": ONE, "status": "Operational", "hard_reset_cnt": "7"}
    for name, text in texts.items():
        tree.file(f"{place}/{name}", f"{text}\n")
    machine = Machine(tree.host.sysfs)
    assert machine.resets() == {ONE: 7, OTHER: None}
    assert (machine.is_operational(ONE), machine.is_operational(OTHER)) == (True, False)


def test_without_the_kernel_driver_there_is_nothing(tree: GaudiTree) -> None:
    assert Machine(tree.host.sysfs).resets() == {}
