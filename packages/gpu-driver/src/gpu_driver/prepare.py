"""Giving GPUs to claims: what is decided, and what a container gets.

A container gets its GPU through DRM, as the kernel driver made it, or whole through VFIO. If another kernel driver is
bound than that needs, it is changed for the claim; see :mod:`gpu_driver.binding`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from dra_common.driver import Wanted
from dra_common.errors import DeviceRefused, HostError
from dra_common.model import (
    Attribute,
    ContainerEdits,
    DeviceNode,
    Edits,
    Mount,
    Plan,
    PlannedDevice,
    Taint,
)
from dra_common.pci import Binding
from dra_common.ports import Host
from pydantic import JsonValue

from gpu_driver import binding
from gpu_driver.config import config_of, wants_vfio
from gpu_driver.device import VFIO_DRIVERS, Gpu, place, unexpected_driver

CLASS_GPU = "gpu"
CLASS_MEI = "gpu-mei"

_IOMMU = "iommu"
"""Of a planned device's options: which nodes of VFIO it gets. Without it, it gets those of DRM."""


def locks(wanted: Wanted, gpu: Gpu) -> tuple[str, ...]:
    """Name the lock of the GPU's kernel driver, which is to be changed, or must not be while a machine has it whole."""
    if wanted.allocated.admin_access or (not wants_vfio(wanted) and binding.is_bound(gpu, vfio=False)):
        return ()
    return (parent(gpu),)


def parent(gpu: Gpu) -> str:
    """Name the lock of a GPU's kernel driver: that of the PF, which its VFs share."""
    return (gpu.parent or gpu.bdf).replace(":", "-").replace(".", "-")


def estranged(device: PlannedDevice, gpu: Gpu) -> tuple[Taint, ...]:
    """Say that an outsider has taken away the kernel driver that a prepared claim needs."""
    if binding.is_bound(gpu, vfio=_is_vfio(device)):
        return ()
    return (unexpected_driver(gpu),)


def examine(wanted: Sequence[Wanted], hardware: Mapping[str, Gpu], host: Host) -> Mapping[str, Gpu]:
    """Look around those GPUs whose lock is needed. Raises HostError."""
    locked = (
        hardware[item.allocated.device] for item in wanted if locks(item, hardware[item.allocated.device])
    )
    return {**hardware, **{gpu.name: binding.survey(host, gpu) for gpu in locked}}


def plan(wanted: Sequence[Wanted], hardware: Mapping[str, Gpu], *, manage: bool) -> Plan:
    """Decide for a whole claim. Raises DeviceRefused for a device that cannot be used as was asked.

    An adminAccess result is never refused, and changes nothing: it watches what others use, and what is bound to VFIO
    gives it no id. ``manage``: kernel drivers may be changed.
    """
    return Plan(tuple(_planned(item, hardware[item.allocated.device], manage=manage) for item in wanted))


def _planned(wanted: Wanted, gpu: Gpu, *, manage: bool) -> PlannedDevice:
    if wanted.allocated.admin_access:
        return PlannedDevice(wanted.allocated)
    vfio, config = wants_vfio(wanted), config_of(wanted)
    options: dict[str, JsonValue] | None = {_IOMMU: config.iommu} if vfio else None
    if vfio:
        binding.check_vfio(gpu, config)
    if binding.is_bound(gpu, vfio=vfio):
        binding.check_ready(gpu, vfio=vfio)
        return PlannedDevice(wanted.allocated, locks(wanted, gpu), options=options)
    after = binding.wanted(gpu, vfio=vfio, manage=manage)
    before = Binding(gpu.driver, gpu.around.override if gpu.around else "")
    undo: dict[str, JsonValue] = {
        "before": before.to_json(),
        "after": after.to_json(),
        "keep": config.keep_binding,
    }
    return PlannedDevice(wanted.allocated, locks(wanted, gpu), undo, options=options)


def apply(plan: Plan, host: Host) -> None:
    """Change the kernel drivers of a plan. Raises HostError."""
    binding.bind(host, _bindings(plan, "after"))


def revert(plan: Plan, host: Host) -> None:
    """Give back the kernel drivers that were found; a GPU that has gone has none to give back. Raises HostError."""
    binding.give_back(host, _bindings(plan, "before"))


def _bindings(plan: Plan, when: Literal["before", "after"]) -> dict[str, Binding]:
    """Device name -> what is to be bound to it. Raises HostError for what a later version has written."""
    found = {}
    for planned in plan.devices:
        if planned.undo is None:
            continue
        if planned.use or planned.undo.keys() != {"before", "after", "keep"}:
            device = planned.allocated.device
            raise HostError(
                f"device {device}: its record has a change of hardware that this version does not know",
                cure="run the version of the driver that wrote the claim's record, let it unprepare the claim",
            )
        if when == "after" or not planned.undo["keep"]:
            value = planned.undo[when]
            assert isinstance(value, dict)  # noqa: S101 - the keys say so
            found[planned.allocated.device] = Binding.from_json(value)
    return found


def edits(device: PlannedDevice, gpu: Gpu, dev_root: str) -> Edits:
    """What a container gets: the DRM nodes of its GPU or those of VFIO, and with adminAccess the MEI nodes too.

    MEI gives access to the card's firmware: it is for those who watch, never for a workload.
    Raises DeviceRefused if the device lost its nodes after it was planned.
    """
    admin = device.allocated.admin_access
    if device.options and _is_vfio(device):
        return {CLASS_GPU: vfio_edits(gpu, dev_root, str(device.options[_IOMMU]))}
    if not gpu.drm:
        if admin:
            return {}
        raise binding.no_drm(gpu)
    found = {CLASS_GPU: drm_edits(gpu, dev_root)}
    if admin and gpu.mei:
        found[CLASS_MEI] = mei_edits(gpu, dev_root)
    return found


def metadata(device: PlannedDevice, gpu: Gpu) -> Mapping[str, Attribute]:
    """What a container is told of its GPU: where it is, and with DRM its render node as the container sees it."""
    render = gpu.render if gpu.drm and not _is_vfio(device) else ""
    return {**place(gpu), **({"renderNode": f"/dev/dri/{render}"} if render else {})}


def _is_vfio(device: PlannedDevice) -> bool:
    return device.options is not None and _IOMMU in device.options


def static_edits(gpu: Gpu, dev_root: str) -> Edits:
    """What users of CDI without Kubernetes get by name; empty for a device without DRM nodes."""
    if not gpu.drm:
        return {}
    found = {CLASS_GPU: drm_edits(gpu, dev_root)}
    if gpu.mei:
        found[CLASS_MEI] = mei_edits(gpu, dev_root)
    return found


def drm_edits(gpu: Gpu, dev_root: str) -> ContainerEdits:
    """Card, render node, and the by-path links that exist, under their usual names.

    The links are mounted because some media stacks look for a GPU by its PCI address; a bind mount of a link mounts
    the node it leads to.
    """
    nodes = tuple(device_node(f"dri/{name}", dev_root) for name in (gpu.card, gpu.render) if name)
    mounts = tuple(_mount(f"dri/by-path/pci-{gpu.bdf}-{kind}", dev_root) for kind in gpu.by_path)
    return ContainerEdits(device_nodes=nodes, mounts=mounts)


def vfio_edits(gpu: Gpu, dev_root: str, iommu: str = "both") -> ContainerEdits:
    """The nodes with which a virtual machine opens the function: by its IOMMU group, by IOMMUFD, or both.

    Raises DeviceRefused if the kernel has none of those asked for.
    """
    kinds = {"legacy": (False,), "iommufd": (True,), "both": (False, True)}[iommu]
    given: list[str] = []
    for node in gpu.vfio_nodes:
        if (iommufd := node.startswith("vfio/devices/")) in kinds:
            given += [node, "iommu" if iommufd else "vfio/vfio"]
    if gpu.driver not in VFIO_DRIVERS or not given:
        why = (
            f"it is bound to {gpu.driver or 'no kernel driver'} and has no node of VFIO of the kind {iommu!r}"
        )
        cure = "see the kernel log; IOMMUFD needs a kernel with CONFIG_VFIO_DEVICE_CDEV"
        raise DeviceRefused(f"device {gpu.name} cannot be given to a virtual machine: {why}", cure=cure)
    return ContainerEdits(device_nodes=tuple(device_node(node, dev_root) for node in given))


def mei_edits(gpu: Gpu, dev_root: str) -> ContainerEdits:
    """The MEI nodes of the card."""
    return ContainerEdits(device_nodes=tuple(device_node(name, dev_root) for name in gpu.mei))


def device_node(name: str, dev_root: str) -> DeviceNode:
    """A character device by its name below ``/dev``."""
    return DeviceNode(f"/dev/{name}", host_path=f"{dev_root.rstrip('/')}/{name}", type="c")


def _mount(name: str, dev_root: str) -> Mount:
    return Mount(f"{dev_root.rstrip('/')}/{name}", f"/dev/{name}", type="none", options=("bind", "rw"))
