"""Giving GPUs to claims: what is decided, and what a container gets.

Devices are given as their kernel driver made them, through DRM. Nothing here changes hardware, so no plan asks for
anything to be done or undone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dra_common.driver import Wanted
from dra_common.errors import DeviceRefused, HostError
from dra_common.model import ContainerEdits, DeviceNode, Edits, Mount, Plan, PlannedDevice

from gpu_driver.device import DRM_DRIVERS, Gpu

CLASS_GPU = "gpu"
CLASS_MEI = "gpu-mei"


def plan(wanted: Sequence[Wanted], hardware: Mapping[str, Gpu]) -> Plan:
    """Decide for a whole claim. Raises DeviceRefused for a device that no container could use through DRM now.

    An adminAccess result is never refused: it watches what others use, and what is bound elsewhere gives it no id.
    """
    return Plan(tuple(_planned(item, hardware[item.allocated.device]) for item in wanted))


def _planned(wanted: Wanted, gpu: Gpu) -> PlannedDevice:
    if not wanted.allocated.admin_access and not gpu.drm:
        raise refusal(gpu)
    return PlannedDevice(wanted.allocated)


def refusal(gpu: Gpu) -> DeviceRefused:
    """Explain why a device cannot be given through DRM."""
    want = gpu.native_driver
    cure = (
        f"bind it to {want}"
        if want
        else "bind it to the kernel driver that supports this product (i915 or xe)"
    )
    if not gpu.driver:
        why = "it is not bound to any kernel driver"
    elif gpu.driver in DRM_DRIVERS:
        why = f"{gpu.driver} is bound to it, but made no DRM card"
        cure = (
            "see the kernel log for why the GPU did not start; a cold boot or a firmware update may be needed"
        )
    else:
        why = f"it is bound to {gpu.driver}, which has no DRM nodes"
    return DeviceRefused(f"device {gpu.name} cannot be prepared for DRM: {why}", cure=cure)


def check_nothing_to_apply(plan: Plan) -> None:
    """Raise DeviceRefused if a plan asks for a change of hardware: this version makes none, so a newer one wrote it."""
    if asked := _asking(plan):
        raise DeviceRefused(
            f"device {asked} cannot be prepared: its plan asks for a change of hardware that this version cannot make",
            cure="upgrade the driver to the version that wrote the claim's record",
        )


def check_nothing_to_revert(plan: Plan) -> None:
    """Raise HostError if a plan holds something to undo; the record must not be dropped as if it were undone."""
    if asked := _asking(plan):
        raise HostError(
            f"device {asked} cannot be put back: its record holds a change of hardware that this version cannot undo",
            cure="run the version of the driver that wrote the claim's record, let it unprepare the claim",
        )


def _asking(plan: Plan) -> str:
    return next((device.allocated.device for device in plan.devices if device.undo or device.use), "")


def edits(device: PlannedDevice, gpu: Gpu, dev_root: str) -> Edits:
    """What a container gets: the DRM nodes of its GPU, and with adminAccess the MEI nodes too.

    MEI gives access to the card's firmware: it is for those who watch, never for a workload.
    Raises DeviceRefused if the device lost its DRM nodes after it was planned.
    """
    admin = device.allocated.admin_access
    if not gpu.drm:
        if admin:
            return {}
        raise refusal(gpu)
    found = {CLASS_GPU: drm_edits(gpu, dev_root)}
    if admin and gpu.mei:
        found[CLASS_MEI] = mei_edits(gpu, dev_root)
    return found


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


def mei_edits(gpu: Gpu, dev_root: str) -> ContainerEdits:
    """The MEI nodes of the card."""
    return ContainerEdits(device_nodes=tuple(device_node(name, dev_root) for name in gpu.mei))


def device_node(name: str, dev_root: str) -> DeviceNode:
    """A character device by its name below ``/dev``."""
    return DeviceNode(f"/dev/{name}", host_path=f"{dev_root.rstrip('/')}/{name}", type="c")


def _mount(name: str, dev_root: str) -> Mount:
    return Mount(f"{dev_root.rstrip('/')}/{name}", f"/dev/{name}", type="none", options=("bind", "rw"))
