"""One Gaudi as found on the machine, and how it looks published."""

from __future__ import annotations

from dataclasses import dataclass

from dra_common.pci import address, device_name

from gaudi_driver.products import UNKNOWN_PRODUCT, Product

DRIVER = "habanalabs"
"""The kernel driver, in the kernel and built beside it."""

UNBOUND_TAINT = "gaudi.intel.com/unbound"
"""NoSchedule: no kernel driver is bound."""

UNEXPECTED_DRIVER_TAINT = "gaudi.intel.com/unexpected-driver"
"""NoSchedule: another kernel driver is bound, the taint's value."""

UNHEALTHY_TAINT = "gaudi.intel.com/unhealthy"
NO_NODE = "no-accel-node"
"""A value of the taint: the kernel driver is bound, but the device did not start."""


@dataclass(frozen=True, slots=True)
class Gaudi:
    """One PCI function of Habana Labs' processing accelerators.

    Only ``bdf`` and ``device_id`` are always known. Everything else has a value that says "unknown".

    Args:
        bdf: PCI address, ``0000:43:00.0``.
        device_id: as sysfs prints it, ``0x1020``.
        product: what the device id stands for.
        driver: the kernel driver bound now; empty = none.
        index: number of its nodes, ``accel3`` or ``hl3``; None = it has none.
        nodes: its device nodes below devfs: of computing (``accel/accel3``), then of control
            (``accel/accel_controlD3``); what is not there is left out.
        uverbs: its node for RDMA below devfs, ``infiniband/uverbs3``; empty = none.
        module_id: place on the server's board, 0 to 7; None = unknown.
        device_type: what the kernel driver calls it, ``GAUDI2``; empty = unknown.
        status: what the kernel driver says of it, ``Operational``; empty = unknown.
        driver_version: of the kernel driver, ``1.21.0``; empty = unknown.
        firmware: version of its firmware, as ``fw_os_ver`` has it; empty = unknown.
        external_ports: network interfaces that lead out of the server; None = unknown.
        numa_node: None = the machine does not say.
        pcie_root: ``pci0000:42``; empty = unknown.
        group: which fully connected group of the machine it belongs to; empty = none, or unknown.
    """

    bdf: str
    device_id: str
    product: Product = UNKNOWN_PRODUCT
    driver: str = ""
    index: int | None = None
    nodes: tuple[str, ...] = ()
    uverbs: str = ""
    module_id: int | None = None
    device_type: str = ""
    status: str = ""
    driver_version: str = ""
    firmware: str = ""
    external_ports: int | None = None
    numa_node: int | None = None
    pcie_root: str = ""
    group: str = ""

    @property
    def name(self) -> str:
        """The published name."""
        return device_name(self.bdf, self.device_id)

    @property
    def usable(self) -> bool:
        """Whether a container can compute on it."""
        return self.driver == DRIVER and self.index is not None

    @property
    def order(self) -> tuple[bool, tuple[int, int, int, int]]:
        """Sorting key, first = the scheduler should try it first: those that can be used, by address."""
        return not self.usable, address(self.bdf)
