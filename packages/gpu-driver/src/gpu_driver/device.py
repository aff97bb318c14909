"""One GPU function as found on the machine, and how it looks published."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dra_common.model import Attribute, Capacity, Device, Quantity, Taint, TaintEffect, Version

from gpu_driver.products import UNKNOWN_PRODUCT, Product
from gpu_driver.queries import Cores

DRM_DRIVERS = ("i915", "xe")
"""Kernel drivers that make DRM nodes."""

UNBOUND_TAINT = "gpu.intel.com/unbound"
"""NoSchedule: no kernel driver is bound, so there is nothing that a container could open."""

NOT_DRM_TAINT = "gpu.intel.com/not-drm"
"""NoSchedule: another driver is bound (the taint's value), or the right one came up without a DRM card."""

MILLICORES = 1000
"""The capacity ``millicores`` of every device, whatever its size: existing manifests compare with it."""

_BDF = re.compile(r"([0-9a-f]{4,8}):([0-9a-f]{2}):([01][0-9a-f])\.([0-7])", re.ASCII)
_STANDARD_BUS_ID = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]", re.ASCII)
"""What ``resource.kubernetes.io/pciBusID`` may be (Kubernetes, ``deviceattribute``): a VMD's domain is too long."""
_LAST_NUMA_NODE = 1023
"""The highest that ``resource.kubernetes.io/numaNode`` may be (KEP-6072)."""
_NAME = re.compile(r"([0-9a-f]{4,8})-([0-9a-f]{2})-([01][0-9a-f])-([0-7])-(0x[0-9a-f]{4})", re.ASCII)


def is_bdf(text: str) -> bool:
    """Whether this is a PCI address as sysfs writes it: ``0000:03:00.0``."""
    return _BDF.fullmatch(text) is not None


def address(bdf: str) -> tuple[int, int, int, int]:
    """Return domain, bus, device and function of a PCI address. Raises ValueError if it is not one."""
    match = _BDF.fullmatch(bdf)
    if match is None:
        raise ValueError(f"{bdf!r} is not a PCI address")
    domain, bus, device, function = (int(part, 16) for part in match.groups())
    return domain, bus, device, function


def device_name(bdf: str, device_id: str) -> str:
    """Return the published name: PCI address and device id, ``0000-03-00-0-0x56c0``; a DNS-1123 label."""
    return f"{bdf.replace(':', '-').replace('.', '-')}-{device_id}"


def split_name(name: str) -> tuple[str, str] | None:
    """Return PCI address and device id of a published name, None if it cannot be one of ours."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    domain, bus, device, function, device_id = match.groups()
    return f"{domain}:{bus}:{device}.{function}", device_id


@dataclass(frozen=True, slots=True)
class Gpu:
    """One PCI function of display class made by Intel: a whole GPU (PF, integrated graphics) or a virtual function.

    Only ``bdf`` and ``device_id`` are always known. Everything else has a value that says "unknown".

    Args:
        bdf: PCI address, ``0000:03:00.0``.
        device_id: as sysfs prints it, ``0x56c0``.
        product: what the device id stands for.
        driver: the kernel driver bound now; empty = none.
        kind: ``vf`` for an SR-IOV virtual function.
        parent: PCI address of a VF's physical function; empty = unknown.
        vf_index: zero-based number of the VF, as in the parent's ``virtfn<N>`` links.
        max_vfs: how many VFs the bound driver allows; None = unknown or no SR-IOV capability.
        num_vfs: VFs that exist now; None = unknown.
        vf_autoprobe: whether new VFs are offered to kernel drivers; None = unknown.
        card: name of the DRM primary node, ``card1``; empty = none.
        render: name of the DRM render node, ``renderD128``; empty = none.
        by_path: which of ``card`` and ``render`` have a link in ``/dev/dri/by-path`` that leads to that node.
        mei: names of its MEI nodes (``mei0``), for firmware and telemetry.
        vfio: name below ``vfio-dev``, ``vfio0``; empty = not bound to a vfio driver.
        iommu_group: number as text; empty = no IOMMU.
        pcie_root: ``pci0000:4a``; empty = unknown.
        numa_node: None = the machine does not say.
        memory_mib: local memory in MiB; 0 = it has none (integrated); None = unknown.
        driver_version: of the DRM driver that is bound, ``6.19.0``; empty = unknown.
        tiles: how many tiles it is made of; None = unknown.
        cores: its Xe cores and execution units, without those that are fused off; None = unknown.
        guc_submission: version of the interface by which its firmware (GuC) takes work; empty = unknown.
    """

    bdf: str
    device_id: str
    product: Product = UNKNOWN_PRODUCT
    driver: str = ""
    kind: Literal["gpu", "vf"] = "gpu"
    parent: str = ""
    vf_index: int | None = None
    max_vfs: int | None = None
    num_vfs: int | None = None
    vf_autoprobe: bool | None = None
    card: str = ""
    render: str = ""
    by_path: tuple[str, ...] = ()
    mei: tuple[str, ...] = ()
    vfio: str = ""
    iommu_group: str = ""
    pcie_root: str = ""
    numa_node: int | None = None
    memory_mib: int | None = None
    driver_version: str = ""
    tiles: int | None = None
    cores: Cores | None = None
    guc_submission: str = ""

    @property
    def name(self) -> str:
        """The published name."""
        return device_name(self.bdf, self.device_id)

    @property
    def native_driver(self) -> str:
        """The kernel driver it has, or should have, for DRM; empty for an unknown product that has none now."""
        return self.driver if self.driver in DRM_DRIVERS else self.product.native_driver

    @property
    def drm(self) -> bool:
        """Whether a container can use it through DRM now."""
        return self.driver in DRM_DRIVERS and bool(self.card)

    @property
    def sriov(self) -> bool:
        """Whether VFs can be made now.

        As in the Go driver, an administrator who turned autoprobe off has turned this off. Beyond it, only the bound
        DRM driver's number counts: without a driver ``sriov_totalvfs`` shows what the hardware could, not what any
        driver allows.
        """
        return bool(self.max_vfs) and self.vf_autoprobe is True and self.driver in DRM_DRIVERS

    @property
    def order(self) -> tuple[bool, int, tuple[int, int, int, int]]:
        """Sorting key, first = the scheduler should try it first.

        Devices that a container can use now come before those that it cannot. Among these: whole GPUs, so that who asks
        for just any GPU gets a whole one while there is one; then VFs; then GPUs that share their memory with VFs.
        Last by PCI address, so that the order is the same on every start.
        """
        rank = 1 if self.kind == "vf" else 2 if self.num_vfs else 0
        return not self.drm, rank, address(self.bdf)


def to_device(gpu: Gpu) -> Device:
    """Turn a GPU into what the scheduler sees.

    ``pciAddress`` and ``pciRoot`` are older names of ``resource.kubernetes.io/pciBusID`` and ``pcieRoot``, kept for
    manifests that use them. What is unknown is left out; it is never an empty string, which would match another's
    empty string in a ``matchAttribute`` constraint.
    """
    return Device(gpu.name, _attributes(gpu), _capacity(gpu), _taints(gpu))


def describe(gpu: Gpu) -> dict[str, Any]:
    """Return everything known of one GPU, as JSON values."""
    facts = asdict(gpu)
    del facts["product"]
    facts |= {"name": gpu.name, "model": gpu.product.model, "family": gpu.product.family}
    facts |= {"native_driver": gpu.native_driver, "integrated": gpu.product.integrated, "sriov": gpu.sriov}
    facts |= {"by_path": list(gpu.by_path), "mei": list(gpu.mei), "usable": gpu.drm}
    return {"name": gpu.name} | facts


def _attributes(gpu: Gpu) -> Mapping[str, Attribute]:
    found: dict[str, Attribute] = {
        "model": gpu.product.model,
        "family": gpu.product.family,
        "driver": gpu.driver,
        "sriov": gpu.sriov,
        "type": gpu.kind,
        "pciId": gpu.device_id,
        "pciAddress": gpu.bdf,
        "health": "Unknown",
    }
    if _STANDARD_BUS_ID.fullmatch(gpu.bdf):
        found["resource.kubernetes.io/pciBusID"] = gpu.bdf
    if gpu.pcie_root:
        found["pciRoot"] = gpu.pcie_root.rpartition(":")[2]
        found["resource.kubernetes.io/pcieRoot"] = gpu.pcie_root
    if gpu.numa_node is not None and gpu.numa_node <= _LAST_NUMA_NODE:
        found["resource.kubernetes.io/numaNode"] = gpu.numa_node
    return {**found, **_inside(gpu), **_place_among_vfs(gpu)}


def _inside(gpu: Gpu) -> Mapping[str, Attribute]:
    found: dict[str, Attribute | None] = {
        "integrated": gpu.product.integrated,
        "tiles": gpu.tiles,
        "xeCores": gpu.cores.xe if gpu.cores else None,
        "executionUnits": gpu.cores.eus if gpu.cores else None,
        "driverVersion": Version(gpu.driver_version) if gpu.driver_version else None,
        "gucSubmissionVersion": Version(gpu.guc_submission) if gpu.guc_submission else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _place_among_vfs(gpu: Gpu) -> Mapping[str, Attribute]:
    if gpu.kind != "vf" or not gpu.parent:
        return {}
    index: Mapping[str, Attribute] = {} if gpu.vf_index is None else {"vfIndex": gpu.vf_index}
    return {"parent": gpu.parent, **index}


def _capacity(gpu: Gpu) -> Mapping[str, Capacity]:
    """Memory that is not known is absent; an integrated GPU has a known 0, which selectors can be compared with."""
    found = {"millicores": Capacity(Quantity(MILLICORES))}
    if gpu.memory_mib is not None:
        found["memory"] = Capacity(Quantity.mebibytes(gpu.memory_mib))
    return found


def _taints(gpu: Gpu) -> tuple[Taint, ...]:
    """Keep the scheduler from devices that prepare would refuse: a refused prepare never moves the pod elsewhere.

    Both taints go as soon as the device is bound to its DRM driver.
    """
    if gpu.drm:
        return ()
    if not gpu.driver:
        return (Taint(UNBOUND_TAINT, TaintEffect.NO_SCHEDULE),)
    return (Taint(NOT_DRM_TAINT, TaintEffect.NO_SCHEDULE, gpu.driver),)
