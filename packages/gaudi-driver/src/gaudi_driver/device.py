"""One Gaudi as found on the machine, and how it looks published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dra_common.model import Attribute, Capacity, Device, Quantity, Taint, TaintEffect, Version
from dra_common.pci import address, device_name
from dra_common.pci.place import roots, standard

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
        index: number of its nodes: 3 of ``accel3``, or of ``hl3``; None = it has none.
        compute: its node for computing below devfs, ``accel/accel3``; empty = none.
        control: its node for control and monitoring, ``accel/accel_controlD3``; empty = none.
        uverbs: its node for RDMA, ``infiniband/uverbs3``; empty = none.
        module_id: place on the server's board, 0 to 7; None = unknown.
        device_type: what the kernel driver calls it, ``GAUDI2``; empty = unknown.
        status: what the kernel driver says of it, ``Operational``; empty = unknown.
        driver_version: of the kernel driver, ``1.21.0``; empty = unknown.
        firmware_version: of its firmware, ``1.12.1``; empty = unknown.
        external_ports: network interfaces that lead out of the server; None = unknown.
        numa_node: None = the machine does not say.
        pcie_root: ``pci0000:42``; empty = unknown.
        group: the fully connected group that it belongs to; empty = none, or unknown.
        attributes: the folder below sysfs in which its kernel driver tells of it; empty = none.
        network_file: whether the host has a file that says how its ports are set (``gaudinet.json``).
    """

    bdf: str
    device_id: str
    product: Product = UNKNOWN_PRODUCT
    driver: str = ""
    index: int | None = None
    compute: str = ""
    control: str = ""
    uverbs: str = ""
    module_id: int | None = None
    device_type: str = ""
    status: str = ""
    driver_version: str = ""
    firmware_version: str = ""
    external_ports: int | None = None
    numa_node: int | None = None
    pcie_root: str = ""
    group: str = ""
    attributes: str = ""
    network_file: bool = False

    @property
    def name(self) -> str:
        """The published name."""
        return device_name(self.bdf, self.device_id)

    @property
    def usable(self) -> bool:
        """Whether a container can compute on it."""
        return self.driver == DRIVER and bool(self.compute)

    @property
    def order(self) -> tuple[bool, tuple[int, int, int, int]]:
        """Sorting key, first = the scheduler should try it first: those that can be used, by address."""
        return not self.usable, address(self.bdf)


def to_device(gaudi: Gaudi) -> Device:
    """Turn a Gaudi into what the scheduler sees.

    ``healthy`` and ``pciRoot`` are older names of ``health`` and ``pcieRoot``, kept for manifests that use them; they
    compare ``serial`` too, which is an empty string while it is not known, as it was.
    """
    return Device(gaudi.name, _attributes(gaudi), _capacity(gaudi), _taints(gaudi))


def describe(gaudi: Gaudi) -> dict[str, Any]:
    """Return everything known of one Gaudi, as JSON values."""
    facts = asdict(gaudi)
    del facts["product"]
    return {"name": gaudi.name, "model": gaudi.product.model, **facts, "usable": gaudi.usable}


def _attributes(gaudi: Gaudi) -> Mapping[str, Attribute]:
    found: dict[str, Attribute | None] = {
        "model": gaudi.product.model,
        "family": "Gaudi",
        "type": "gaudi",
        "deviceType": gaudi.device_type or None,
        "driver": gaudi.driver,
        "driverVersion": _version(gaudi.driver_version),
        "firmwareVersion": _version(gaudi.firmware_version),
        "pciId": gaudi.device_id,
        "moduleId": gaudi.module_id,
        "oamGroup": gaudi.group or None,
        "externalPorts": gaudi.external_ports,
        "serial": "",
        "health": "Unknown",
        "healthy": True,
        **roots(gaudi.pcie_root),
        **standard(gaudi.bdf, gaudi.numa_node),
    }
    return {name: value for name, value in found.items() if value is not None}


def _version(text: str) -> Version | None:
    return Version(text) if text else None


def _capacity(gaudi: Gaudi) -> Mapping[str, Capacity]:
    memory = gaudi.product.memory_mib
    return {} if memory is None else {"memory": Capacity(Quantity.mebibytes(memory))}


def _taints(gaudi: Gaudi) -> tuple[Taint, ...]:
    """Keep the scheduler from devices that prepare would refuse: a refused prepare never moves the pod elsewhere."""
    if gaudi.usable:
        return ()
    if gaudi.driver == DRIVER:
        return (_no_schedule(UNHEALTHY_TAINT, NO_NODE),)
    if gaudi.driver:
        return (_no_schedule(UNEXPECTED_DRIVER_TAINT, gaudi.driver),)
    return (_no_schedule(UNBOUND_TAINT),)


def _no_schedule(key: str, value: str = "") -> Taint:
    return Taint(key, TaintEffect.NO_SCHEDULE, value)
