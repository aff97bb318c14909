"""The network of the out-of-tree driver: a device for RDMA, and an interface for each port that leads out."""

from __future__ import annotations

from dra_common.simulate import Function, Machine

from gaudi_driver.simulation.board import Board
from gaudi_driver.simulation.details import details_of

_VERBS_MAJOR = 231
_FIRST_VERBS = 192


def add(machine: Machine, function: Function, board: Board, index: int) -> None:
    """Add ``infiniband/hlib_N``, ``infiniband_verbs/uverbsM`` and ``net/…`` below the PCI function.

    ``N`` is that of the device's nodes; ``M`` is the first free one, as for all RDMA devices.
    """
    for order, port in enumerate(board.ports[: details_of(function).ports]):
        _add_interface(machine, function, board, port, order)
    name = f"hlib_{index}"
    files = {"node_type": "1: CA", "fw_ver": details_of(function).firmware, "hca_type": board.card}
    machine.add_class_device(function.folder, "infiniband", name, files=files, owner=function)
    number = machine.allocate("uverbs", owner=function)
    machine.add_class_device(
        function.folder,
        "infiniband_verbs",
        f"uverbs{number}",
        dev=(_VERBS_MAJOR, _FIRST_VERBS + number),
        devname=f"infiniband/uverbs{number}",
        files={"ibdev": name, "abi_version": "1"},
        node_mode=0o666,
        owner=function,
    )


def _add_interface(machine: Machine, function: Function, board: Board, port: int, order: int) -> None:
    bus, slot = int(function.bdf[5:7], 16), int(function.bdf[8:10], 16)
    files = {
        "address": f"b0:fd:0b:{bus:02x}:{slot:02x}:{order:02x}",
        "carrier": "1",
        "dev_port": str(port),
        "ifindex": str(machine.allocate("ifindex", 2, owner=function)),
        "operstate": "up",
        "speed": str(board.speed),
    }
    machine.add_class_device(function.folder, "net", f"enp{bus}s{slot}d{port}", files=files, owner=function)
