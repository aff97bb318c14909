"""The simulated habanalabs, mainline and out-of-tree (``drivers/accel/habanalabs``)."""

from __future__ import annotations

import errno

from dra_common.simulate import Function, KernelDriver, Machine, refuse

from gaudi_driver.products import PRODUCTS
from gaudi_driver.simulation import attributes, hlml, network, nodes
from gaudi_driver.simulation.board import Board, board_of
from gaudi_driver.simulation.details import details_of

_VENDOR = "0x1da3"
_MAINLINE = frozenset({"0x1000", "0x1010", "0x1020"})
_VERSION = "1.21.0-ca59b5a"
"""Of the out-of-tree module: three numbers and the commit that it was built from."""

_SENSORS = {
    "curr1_input": "1830",
    "in0_input": "54100",
    "power1_input": "99000000",
    "temp1_input": "31000",
    "temp1_max": "95000",
}


class Habanalabs(KernelDriver):
    """Mainline: Gaudi and Gaudi2, without their networks; the module does not tell a version."""

    def __init__(self, key: str = "habanalabs") -> None:
        super().__init__("habanalabs", key=key)

    def matches(self, function: Function) -> bool:
        """Whether the variant's table has this product."""
        return function.spec.vendor == _VENDOR and function.spec.device in self.ids()

    def ids(self) -> frozenset[str]:
        """Return the device ids of the table."""
        return _MAINLINE

    def load(self, machine: Machine) -> None:
        """Let the library see no devices."""
        hlml.clear(machine)

    def probe(self, machine: Machine, function: Function) -> None:
        """Add attributes, nodes, hwmon and what the library knows. Raises ENODEV for what is no Gaudi.

        Of a device that is in creation there are but the attributes that need no firmware, and no nodes.
        """
        board = board_of(function)
        if board is None:
            raise refuse(errno.ENODEV, f"{function.bdf}: {function.spec.device} is no Gaudi")
        if details_of(function).status == attributes.CREATION:
            if details_of(function).layout == "accel":
                attributes.add(machine, function, function.folder, board)
            return
        devices = nodes.add(machine, function)
        attributes.add(machine, function, devices.folder, board, self.more())
        _add_hwmon(machine, function, board)
        self.connect(machine, function, board, devices.index)
        hlml.add(machine, function, board, devices.index)

    def more(self) -> dict[str, str]:
        """Return the attributes that only this variant has."""
        return {}

    def connect(self, machine: Machine, function: Function, board: Board, index: int) -> None:
        """Add the network; mainline has none."""


class HabanalabsOutOfTree(Habanalabs):
    """Out-of-tree: all generations with their networks; the module tells its version."""

    def __init__(self) -> None:
        super().__init__("habanalabs-oot")

    def ids(self) -> frozenset[str]:
        """Return all that are known."""
        return frozenset(PRODUCTS)

    def load(self, machine: Machine) -> None:
        """Add the module's version; it taints the kernel, as every one that was built beside it."""
        super().load(machine)
        machine.add_file(f"module/{self.module}/version", _VERSION)
        machine.add_file(f"module/{self.module}/taint", "OE")

    def more(self) -> dict[str, str]:
        """Return the version of the driver, which its devices show, too."""
        return {"driver_ver": _VERSION}

    def connect(self, machine: Machine, function: Function, board: Board, index: int) -> None:
        """Add the device for RDMA and the network interfaces, unless the profile says that it has none."""
        if details_of(function).network:
            network.add(machine, function, board, index)


def _add_hwmon(machine: Machine, function: Function, board: Board) -> None:
    name = f"hwmon{machine.allocate('hwmon', owner=function)}"
    files = {"name": board.card.replace("-", ""), **_SENSORS}
    machine.add_class_device(function.folder, "hwmon", name, files=files, owner=function)
