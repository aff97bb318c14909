"""One GPU function as found on the machine, and how it looks published."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dra_common.model import Attribute, Capacity, Device, Quantity, Taint, TaintEffect, Version
from dra_common.pci import address, device_name, split_name
from dra_common.pci.place import roots, standard
from dra_common.taints import busy_taint

from gpu_driver.products import UNKNOWN_PRODUCT, Product
from gpu_driver.queries import Cores

DRM_DRIVERS = ("i915", "xe")
"""Kernel drivers that make DRM nodes."""

VFIO_DRIVERS = ("vfio-pci", "xe-vfio-pci")
"""Kernel drivers that give a whole function to a virtual machine."""

UNBOUND_TAINT = "gpu.intel.com/unbound"
"""NoSchedule: no kernel driver is bound, and none will be for a claim that needs one."""

UNEXPECTED_DRIVER_TAINT = "gpu.intel.com/unexpected-driver"
"""NoSchedule: a kernel driver is bound (the taint's value) that is not changed for a claim that needs another one."""

UNHEALTHY_TAINT = "gpu.intel.com/unhealthy"
NO_CARD = "no-drm-card"
"""A value of the taint: the right kernel driver is bound, but the GPU did not start."""

MILLICORES = 1000
"""The capacity ``millicores`` of every device, whatever its size: existing manifests compare with it."""

_COUNT = re.compile(r"[1-9][0-9]{0,2}", re.ASCII)


def split_mode(name: str) -> tuple[str, int] | None:
    """Return the PF's published name and the number of VFs in the name of a mode, None if it is none's."""
    pf, _, count = name.rpartition("-vf")
    return (pf, int(count)) if split_name(pf) and _COUNT.fullmatch(count) else None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What has to be known of a GPU before its kernel driver is changed.

    Args:
        override: its ``driver_override``, empty if it is not set.
        neighbours: addresses of the other functions in its IOMMU group, without bridges.
        drivers: which kernel drivers are loaded that GPUs can be bound to.
        vfs: how many VFs it has.
        resets: the ways in which the kernel can reset it (``reset_method``), ``flr`` among them or not.
        autoprobe: whether new VFs are offered to kernel drivers; None for what can have none.
        scheduling: how its time is given to its VFs, as :mod:`gpu_driver.scheduling` reads it; None = it was not
            needed, or cannot be set.
    """

    override: str = ""
    neighbours: tuple[str, ...] = ()
    drivers: frozenset[str] = frozenset()
    vfs: int = 0
    resets: tuple[str, ...] = ()
    autoprobe: bool | None = None
    scheduling: Mapping[str, Sequence[str]] | None = None


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
        in_use: whether a virtual machine has it open through VFIO.
        vfio_nodes: which of its group's node and its own (``vfio/13``, ``vfio/devices/vfio0``) there are.
        iommu_group: number as text; empty = no IOMMU.
        pcie_root: ``pci0000:4a``; empty = unknown.
        numa_node: None = the machine does not say.
        bindable: whether its native driver is loaded.
        memory_mib: local memory in MiB; 0 = it has none (integrated); None = unknown.
        driver_version: of the DRM driver that is bound, ``6.19.0``; empty = unknown.
        tiles: how many tiles it is made of; None = unknown.
        cores: its Xe cores and execution units, without those that are fused off; None = unknown.
        guc_submission: version of the interface by which its firmware (GuC) takes work; empty = unknown.
        makes_vfs: whether the bound driver can make VFs of this product.
        schedules_vfs: whether the bound driver lets be set how its time is given to its VFs.
        mode: not the function itself, but the way to use it as this many VFs; 0 = the function.
        vfs: the VFs that there are now; known only of a mode.
        around: what was read because a claim may change its kernel driver; None = it was not needed.
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
    vfio_nodes: tuple[str, ...] = ()
    in_use: bool = False
    iommu_group: str = ""
    pcie_root: str = ""
    numa_node: int | None = None
    bindable: bool = False
    memory_mib: int | None = None
    driver_version: str = ""
    tiles: int | None = None
    cores: Cores | None = None
    guc_submission: str = ""
    makes_vfs: bool = False
    schedules_vfs: bool = False
    mode: int = 0
    vfs: tuple[Gpu, ...] = ()
    around: Surroundings | None = None

    @property
    def name(self) -> str:
        """The published name."""
        name = device_name(self.bdf, self.device_id)
        return f"{name}-vf{self.mode}" if self.mode else name

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
    def order(self) -> tuple[bool, int, tuple[int, int, int, int], int]:
        """Sorting key, first = the scheduler should try it first.

        Devices that a container can use now come before those that it cannot. Among these: whole GPUs, so that who asks
        for just any GPU gets a whole one while there is one; then VFs; then GPUs that share their memory with VFs.
        Then by PCI address, so that the order is the same on every start. Of the modes of a GPU the one with the
        smallest shares comes first: who asks for memory gets no more than it needs.
        """
        rank = 3 if self.mode else 1 if self.kind == "vf" else 2 if self.num_vfs else 0
        return not self.drm, rank, address(self.bdf), -self.mode


def to_device(gpu: Gpu, *, manage: bool = True) -> Device:
    """Turn a GPU into what the scheduler sees. ``manage``: kernel drivers are changed for claims that need it.

    ``pciAddress`` and ``pciRoot`` are older names of ``resource.kubernetes.io/pciBusID`` and ``pcieRoot``, kept for
    manifests that use them. What is unknown is left out; it is never an empty string, which would match another's
    empty string in a ``matchAttribute`` constraint.
    """
    return Device(gpu.name, _attributes(gpu), _capacity(gpu), _taints(gpu, manage=manage))


def describe(gpu: Gpu) -> dict[str, Any]:
    """Return everything known of one GPU, as JSON values."""
    facts = asdict(gpu)
    del facts["product"], facts["around"]
    facts["vfs"] = [vf.name for vf in gpu.vfs]
    facts |= {"name": gpu.name, "model": gpu.product.model, "family": gpu.product.family}
    facts |= {"native_driver": gpu.native_driver, "integrated": gpu.product.integrated, "sriov": gpu.sriov}
    facts |= {"by_path": list(gpu.by_path), "mei": list(gpu.mei), "vfio_nodes": list(gpu.vfio_nodes)}
    facts |= {"usable": gpu.drm}
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
    place = {**roots(gpu.pcie_root), **standard(gpu.bdf, gpu.numa_node)}
    return {**found, **place, **_inside(gpu), **_place_among_vfs(gpu)}


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


def _taints(gpu: Gpu, *, manage: bool) -> tuple[Taint, ...]:
    """Keep the scheduler from devices that prepare would refuse: a refused prepare never moves the pod elsewhere.

    They are judged as for a claim that says nothing of how it uses the device: it needs DRM.
    """
    if gpu.drm:
        return ()
    if gpu.driver in DRM_DRIVERS:
        return (_no_schedule(UNHEALTHY_TAINT, NO_CARD),)
    if gpu.in_use:
        return (busy_taint("gpu.intel.com"),)
    if manage and gpu.bindable and gpu.driver in ("", *VFIO_DRIVERS):
        return ()
    return (_no_schedule(UNEXPECTED_DRIVER_TAINT, gpu.driver) if gpu.driver else _no_schedule(UNBOUND_TAINT),)


def unexpected_driver(gpu: Gpu) -> Taint:
    """Return the taint of a GPU that was given another kernel driver than its claim needs."""
    return _no_schedule(UNEXPECTED_DRIVER_TAINT, gpu.driver or "none")


def _no_schedule(key: str, value: str = "") -> Taint:
    return Taint(key, TaintEffect.NO_SCHEDULE, value)
