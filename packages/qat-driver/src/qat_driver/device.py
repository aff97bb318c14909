"""Physical and virtual functions as found on the machine, and how a virtual one looks published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dra_common.model import Attribute, Device, Taint, TaintEffect
from dra_common.pci.place import roots, standard

from qat_driver.names import pf_name, vf_name
from qat_driver.products import Product
from qat_driver.services import KNOWN, Services

VFIO_DRIVERS = frozenset({"vfio-pci", "qat_vfio_pci"})
"""Kernel drivers by which a container can have a VF."""

UNBOUND_TAINT = "qat.intel.com/unbound"
"""NoSchedule: no kernel driver is bound, to the VF or to its PF."""

UNEXPECTED_DRIVER_TAINT = "qat.intel.com/unexpected-driver"
"""NoSchedule: another kernel driver is bound, the taint's value."""

STATE_TAINT = "qat.intel.com/state"
"""NoSchedule: the PF is down, or its state is none that is known."""

SERVICES_TAINT = "qat.intel.com/services"
"""NoSchedule: what the PF offers is not told, or not known."""

NO_GROUP_TAINT = "qat.intel.com/no-iommu-group"
"""NoSchedule: VFIO cannot hand it out."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a function cannot be used.

    Args:
        taint: key of the taint that it becomes.
        value: value of the taint.
        why: a sentence for people, without the device's name.
    """

    taint: str
    value: str
    why: str


NOTHING = Services()
"""No service, or none that is told."""


@dataclass(frozen=True, slots=True)
class Pf:
    """One physical function.

    Args:
        bdf: PCI address, ``0000:6b:00.0``.
        device_id: as sysfs prints it, ``0x4940``.
        product: what the device id stands for.
        driver: the kernel driver bound now; empty = none.
        state: ``up``, ``down``, or whatever else it says; empty = it does not say.
        services: what it offers; empty = nothing is told, as of products without a choice.
        auto_reset: whether the kernel starts it again after a fatal error; None = it does not say.
        total_vfs: how many VFs it would have; None = unknown.
        vfs: addresses of the VFs that it has, in order of their numbers.
        iommu_group: number as text; empty = there is no IOMMU.
        numa_node: None = the machine does not say.
        pcie_root: ``pci0000:6b``; empty = unknown.
        faults: why its VFs cannot be used, whatever they are themselves.
    """

    bdf: str
    device_id: str
    product: Product
    driver: str = ""
    state: str = ""
    services: Services = NOTHING
    auto_reset: bool | None = None
    total_vfs: int | None = None
    vfs: tuple[str, ...] = ()
    iommu_group: str = ""
    numa_node: int | None = None
    pcie_root: str = ""
    faults: tuple[Fault, ...] = ()

    @property
    def name(self) -> str:
        """How it is called in names of what belongs to it."""
        return pf_name(self.bdf)


@dataclass(frozen=True, slots=True)
class Vf:
    """One virtual function.

    Args:
        bdf: PCI address, ``0000:6b:00.1``.
        device_id: as sysfs prints it, ``0x4941``.
        product: what the device id stands for.
        driver: the kernel driver bound now; empty = none.
        pf_bdf: address of its PF; empty = it has none here, as in a virtual machine.
        pf: its PF; None = it has none here, or that is no QAT that is known.
        iommu_group: number as text; empty = there is no IOMMU.
        node: its group's node below devfs, ``vfio/448``; empty = there is none, or not yet.
        numa_node: None = the machine does not say.
        pcie_root: ``pci0000:6b``; empty = unknown.
        own_faults: why it cannot be used, of what is its own.
    """

    bdf: str
    device_id: str
    product: Product
    driver: str = ""
    pf_bdf: str = ""
    pf: Pf | None = None
    iommu_group: str = ""
    node: str = ""
    numa_node: int | None = None
    pcie_root: str = ""
    own_faults: tuple[Fault, ...] = ()

    @property
    def name(self) -> str:
        """The published name."""
        return vf_name(self.bdf)

    @property
    def services(self) -> Services:
        """What it offers: all that its PF does."""
        return self.pf.services if self.pf else NOTHING

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Why it cannot be used: its PF's reasons, then its own."""
        return (*(self.pf.faults if self.pf else ()), *self.own_faults)

    @property
    def usable(self) -> bool:
        """Whether a container can use it."""
        return not self.faults


Qat = Pf | Vf


def to_device(vf: Vf) -> Device:
    """Turn a VF into what the scheduler sees.

    The boolean attributes are there for every VF, so that a selector never asks for one that is missing: false also
    means that nobody knows.
    """
    return Device(vf.name, _attributes(vf), {}, _taints(vf))


def describe(qat: Qat) -> dict[str, Any]:
    """Return everything known of one function, as JSON values."""
    facts = asdict(qat)
    for name in ("product", "services", "faults", "own_faults", "pf"):
        facts.pop(name, None)
    return {
        "name": qat.name,
        "family": qat.product.family,
        "generation": qat.product.generation,
        **facts,
        "services": ";".join(filter(None, (qat.services.text, *qat.services.unknown))),
        "faults": [fault.why for fault in qat.faults],
    }


def _attributes(vf: Vf) -> Mapping[str, Attribute]:
    found: dict[str, Attribute | None] = {
        "family": vf.product.family,
        "generation": vf.product.generation,
        "type": "vf",
        "services": vf.services.text,
        **{service: service in vf.services for service in KNOWN},
        "pf": vf.pf_bdf or None,
        "state": (vf.pf.state if vf.pf else "") or None,
        "driver": vf.driver,
        "pciId": vf.device_id,
        "health": "Unknown",
        **roots(vf.pcie_root),
        **standard(vf.bdf, vf.numa_node),
    }
    return {name: value for name, value in found.items() if value is not None}


def _taints(vf: Vf) -> tuple[Taint, ...]:
    """Keep the scheduler from devices that prepare would refuse; of several reasons with one key the first counts."""
    chosen: dict[str, Fault] = {}
    for fault in vf.faults:
        chosen.setdefault(fault.taint, fault)
    return tuple(Taint(key, TaintEffect.NO_SCHEDULE, fault.value) for key, fault in chosen.items())
